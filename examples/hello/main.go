// Command hello is the server that the examples run: small, and able to show what is asked of it.
//
//	hello                    serve on $PORT (8080)
//	hello check URL          exit with 0 if URL answers 200
//	hello say TEXT...        print TEXT and end
//	hello append FILE TEXT   add a line to FILE and end
//	hello fail               end with exit code 1
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return serve(ctx)
	case args[0] == "check" && len(args) == 2:
		return check(ctx, args[1])
	case args[0] == "say":
		fmt.Println(strings.Join(args[1:], " "))
		return nil
	case args[0] == "append" && len(args) == 3:
		return appendLine(args[1], args[2])
	case args[0] == "fail":
		return errors.New("fails, as asked")
	}
	return fmt.Errorf("unknown command %q", args)
}

// serve answers requests until ctx ends, then lets those in flight finish.
func serve(ctx context.Context) error {
	server := &http.Server{
		Addr: ":" + env("PORT", "8080"), Handler: newSite().routes(), ReadHeaderTimeout: 5 * time.Second,
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		fmt.Println("asked to stop")
		grace, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		done <- server.Shutdown(grace)
	}()
	fmt.Println("listens on", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

func check(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := get(ctx, url)
	return err
}

func appendLine(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, time.Now().UTC().Format(time.RFC3339), text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
