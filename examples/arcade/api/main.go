// Command api is the arcade's REST API: a stateless server. Each request carries a JWT that says who asks; all that is
// kept is kept in PostgreSQL, in transactions. Any replica may answer any request.
//
//	POST /token   {"player": "ada"}   a token for the player, good for an hour
//	GET  /me                          who the token speaks for, and which replica answered
//	GET  /scores                      the ten best
//	POST /scores  {"points": 10}      add points to the player's score, at once or not at all
//	GET  /healthz                     200 when the database answers
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	if err := run(ctx); err != nil {
		slog.Error("api ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	key, err := secret("JWT_KEY_FILE")
	if err != nil {
		return err
	}
	password, err := secret("DB_PASSWORD_FILE")
	if err != nil {
		return err
	}
	scores, err := openScores(ctx, os.Getenv("DB_HOST"), password)
	if err != nil {
		return err
	}
	defer scores.pool.Close()
	host, _ := os.Hostname()
	server := &http.Server{
		Addr:              ":8080",
		Handler:           routes(tokens{key: []byte(key), now: time.Now}, scores, host),
		ReadHeaderTimeout: 5 * time.Second,
	}
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		server.Shutdown(grace) //nolint:errcheck // the process ends next
	}()
	slog.Info("api listens", "addr", server.Addr, "replica", host)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// secret reads the file that the environment variable names.
func secret(variable string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		return "", fmt.Errorf("set %s to the file that holds the secret", variable)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
