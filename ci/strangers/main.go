// Command main buys through net/http for a while and prints "REQUESTS ERRORS CONNECTIONS", then the first error.
//
// net/http repeats what it believes to be safe to repeat on a connection that died, and tells nobody. So each
// purchase is a POST whose body cannot be had a second time (no GetBody), which it never repeats, and the
// connections are counted by httptrace.
//
// Usage: main http://HOST:PORT SECONDS TOKEN..., a client that keeps its connection for each token.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const order = `{"event":1,"goods":1}`

var (
	requests, errors, connections atomic.Int64
	first                         sync.Once
	told                          string
)

func main() {
	seconds, err := strconv.ParseFloat(os.Args[2], 64)
	if err != nil {
		panic(err)
	}
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var all sync.WaitGroup
	for index, token := range os.Args[3:] {
		all.Add(1)
		go func(index int, token string) {
			defer all.Done()
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			for number := 0; time.Now().Before(end); number++ {
				requests.Add(1)
				if err := buy(client, token, fmt.Sprintf("go-%d-%d", index, number)); err != nil {
					errors.Add(1)
					first.Do(func() { told = err.Error() })
				}
				time.Sleep(3 * time.Millisecond)
			}
		}(index, token)
	}
	all.Wait()
	fmt.Println(requests.Load(), errors.Load(), connections.Load())
	fmt.Println(told)
}

func buy(client *http.Client, token, key string) error {
	// Behind another type, so that net/http cannot know how to read it again.
	body := struct{ io.Reader }{strings.NewReader(order)}
	request, err := http.NewRequest(http.MethodPost, os.Args[1]+"/orders", body)
	if err != nil {
		return err
	}
	request.ContentLength = int64(len(order))
	request.Header.Set("authorization", "Bearer "+token)
	request.Header.Set("idempotency-key", key)
	request.Header.Set("content-type", "application/json")
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if !got.Reused {
			connections.Add(1)
		}
	}}
	answer, err := client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST /orders was answered %s", answer.Status)
	}
	return nil
}
