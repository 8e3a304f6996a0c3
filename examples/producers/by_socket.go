// Queues a message over the socket, with Go's standard library alone, and waits until it is on disk.
//
//	go run by_socket.go SOCKET ACCOUNT CHAT TEXT KEY
//
// KEY is yours: if this program is run again with the same key, the message is not queued twice.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := queue(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func queue(socket, account, chat, text, key string) error {
	client := http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}
	message, err := json.Marshal(map[string]string{"account_id": account, "chat_id": chat, "text": text, "dedupe_key": key})
	if err != nil {
		return err
	}
	response, err := client.Post("http://outboxd/v1/messages", "application/json", bytes.NewReader(message))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		ID    string
		Error struct{ Field, Problem, Fix string }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	// 201: queued; 200: it was queued before under this key. Anything else says what is wrong and what to do.
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s %s; %s", answer.Error.Field, answer.Error.Problem, answer.Error.Fix)
	}
	fmt.Println(answer.ID)
	return nil
}
