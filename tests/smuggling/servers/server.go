// Answers every request, and writes down what it was: a line of JSON each. Arguments: port, file.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
)

func latin1(data []byte) string {
	text := make([]rune, len(data))
	for index, octet := range data {
		text[index] = rune(octet)
	}
	return string(text)
}

func main() {
	file, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	answer := func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		visitor := request.Header.Get("X-Forwarded-For")
		seen := []string{visitor, request.Method, request.RequestURI, request.Host, latin1(body)}
		line, _ := json.Marshal(seen)
		file.Write(append(line, '\n'))
		response.Write([]byte("go"))
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(answer)))
}
