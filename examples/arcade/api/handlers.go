package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
)

type store interface {
	ping(ctx context.Context) error
	best(ctx context.Context, n int) ([]score, error)
	add(ctx context.Context, player string, points int) (int, error)
}

type score struct {
	Player string `json:"player"`
	Points int    `json:"points"`
}

func routes(t tokens, s store, host string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.ping(r.Context()); err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Player string `json:"player"`
		}
		if !read(w, r, &in) {
			return
		}
		if in.Player == "" || len(in.Player) > 64 {
			fail(w, http.StatusBadRequest, "player must have 1 to 64 characters")
			return
		}
		token, err := t.issue(in.Player)
		if err != nil {
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		answer(w, map[string]string{"token": token})
	})
	mux.HandleFunc("GET /me", withPlayer(t, func(w http.ResponseWriter, _ *http.Request, player string) {
		answer(w, map[string]string{"player": player, "replica": host})
	}))
	mux.HandleFunc("GET /scores", withPlayer(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		best, err := s.best(r.Context(), 10)
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, best)
	}))
	mux.HandleFunc("POST /scores", withPlayer(t, func(w http.ResponseWriter, r *http.Request, player string) {
		var in struct {
			Points int `json:"points"`
		}
		if !read(w, r, &in) {
			return
		}
		total, err := s.add(r.Context(), player, in.Points)
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, score{player, total})
	}))
	return mux
}

// withPlayer answers 401 unless the request carries a good token.
func withPlayer(t tokens, next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "send Authorization: Bearer <token>; POST /token gives one")
			return
		}
		player, err := t.verify(token)
		if err != nil {
			fail(w, http.StatusUnauthorized, err.Error())
			return
		}
		next(w, r, player)
	}
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(into); err != nil {
		fail(w, http.StatusBadRequest, "body: "+err.Error())
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Warn("write answer", "err", err)
	}
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": message}) //nolint:errcheck // the client is gone
}
