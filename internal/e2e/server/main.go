// Command server is what the end-to-end tests deploy: a small HTTP server that can be told to be bad.
//
//	EXIT=n         exits with code n at once
//	DEAF=1         listens on no port
//	UNHEALTHY=1    answers 500 to GET /healthz
//	VERSION=v      what GET / answers, with the host name
//
// It answers each UDP packet on port 5353 with the host name and what it got. "server lookup NAME" and "server get URL"
// tell what they find, from where they run.
//
// GET /slow?ms=n answers after n milliseconds. GET /hang makes /healthz answer no more.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if code := os.Getenv("EXIT"); code != "" {
		n, _ := strconv.Atoi(code)
		fmt.Println("told to exit with", n)
		os.Exit(n)
	}
	if len(os.Args) > 1 {
		if err := look(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	host, _ := os.Hostname()
	var hung atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s\n", os.Getenv("VERSION"), host)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-r.Context().Done():
		}
		fmt.Fprintf(w, "%s %s\n", os.Getenv("VERSION"), host)
	})
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) { hung.Store(true) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if hung.Load() {
			<-r.Context().Done()
		}
		if os.Getenv("UNHEALTHY") != "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	server := &http.Server{Addr: ":8080", Handler: mux}
	go func() {
		<-ctx.Done()
		server.Shutdown(context.Background()) //nolint:errcheck // the process ends next
	}()
	if os.Getenv("DEAF") != "" {
		<-ctx.Done()
		return
	}
	go echo(host)
	fmt.Println("listening as", os.Getenv("VERSION"))
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		os.Exit(1)
	}
}
