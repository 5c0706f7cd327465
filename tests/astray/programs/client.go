// Reads requests, one a line of JSON, sends them over five connections, and prints what came of each.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type request struct {
	N      int         `json:"n"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Fields [][2]string `json:"fields"`
}

type result struct {
	N      int     `json:"n"`
	Start  float64 `json:"start"`
	End    float64 `json:"end"`
	Status int     `json:"status"`
	Name   string  `json:"name"`
}

func now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }

func send(client *http.Client, asked request) (done result) {
	done.N, done.Start = asked.N, now()
	defer func() { done.End = now() }()
	var body io.Reader
	if strings.HasPrefix(asked.Method, "P") {
		body = strings.NewReader("x")
	}
	made, err := http.NewRequest(asked.Method, os.Args[1]+asked.Path, body)
	if err != nil {
		done.Name = err.Error()
		return
	}
	made.Host = os.Args[2]
	for _, field := range asked.Fields {
		made.Header.Add(field[0], field[1])
	}
	answer, err := client.Do(made)
	if err != nil {
		done.Name = err.Error()
		return
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	done.Status, done.Name = answer.StatusCode, answer.Header.Get("X-Name")
	return
}

func main() {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxConnsPerHost: 5, MaxIdleConnsPerHost: 5}}
	asked, output := make(chan request), json.NewEncoder(os.Stdout)
	var group sync.WaitGroup
	var lock sync.Mutex
	for i := 0; i < 5; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for one := range asked {
				done := send(client, one)
				lock.Lock()
				output.Encode(done)
				lock.Unlock()
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var one request
		if json.Unmarshal(lines.Bytes(), &one) == nil {
			asked <- one
		}
	}
	close(asked)
	group.Wait()
}
