package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

// look runs "lookup NAME", which prints the addresses of a name, sorted, or "get URL", which prints the answer.
func look(args []string) error {
	if len(args) != 2 {
		return errors.New("lookup NAME, or get URL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	switch args[0] {
	case "lookup":
		addresses, err := net.DefaultResolver.LookupHost(ctx, args[1])
		slices.Sort(addresses)
		for _, a := range addresses {
			fmt.Println(a)
		}
		return err
	case "get":
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[1], nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(os.Stdout, resp.Body)
		return err
	}
	return fmt.Errorf("unknown command %s", args[0])
}

// echo answers packets until the process ends.
func echo(host string) {
	conn, err := net.ListenPacket("udp", ":5353")
	if err != nil {
		fmt.Println(err)
		return
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if _, err := conn.WriteTo(append([]byte(host+" "), buf[:n]...), from); err != nil {
			fmt.Println(err)
		}
	}
}
