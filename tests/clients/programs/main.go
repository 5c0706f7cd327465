// A static Go program: one query with pgx, or one request with net/http.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
)

func main() {
	answer, err := ask(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(answer)
}

func ask(url string) (string, error) {
	if strings.HasPrefix(url, "http:") {
		response, err := http.Get(url)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	connection, err := pgx.Connect(context.Background(), url)
	if err != nil {
		return "", err
	}
	var answer string
	err = connection.QueryRow(context.Background(), "select 'pod'").Scan(&answer)
	return answer, err
}
