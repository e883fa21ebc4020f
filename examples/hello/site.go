package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// site is what hello serves. It is set up by the environment: GREETING, VERSION, READY_AFTER (a duration), DATA (a
// directory), SHOW (files, with colons between them), PEER (a URL).
type site struct {
	host    string
	started time.Time
	ready   time.Duration

	mu    sync.Mutex // guards visits' file and eaten
	eaten [][]byte
}

func newSite() *site {
	host, err := os.Hostname()
	if err != nil {
		host = "nobody"
	}
	ready, err := time.ParseDuration(env("READY_AFTER", "0s"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "hello: READY_AFTER is no duration:", err)
	}
	return &site{host: host, started: time.Now(), ready: ready}
}

func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", s.greet)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /visits", s.visits)
	mux.HandleFunc("GET /files", s.files)
	mux.HandleFunc("GET /peer", s.peer)
	mux.HandleFunc("GET /eat", s.eat)
	mux.HandleFunc("GET /crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	return mux
}

func (s *site) greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s from %s, version %s, path %s\n", env("GREETING", "hello"), s.host, env("VERSION", "1"), r.URL.Path)
}

func (s *site) healthz(w http.ResponseWriter, _ *http.Request) {
	if wait := s.ready - time.Since(s.started); wait > 0 {
		http.Error(w, fmt.Sprintf("ready in %s", wait.Round(time.Millisecond)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// visits counts in a file of DATA, so that a volume shows.
func (s *site) visits(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := filepath.Join(env("DATA", "/data"), "visits")
	n := 0
	if data, err := os.ReadFile(name); err == nil {
		n, _ = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	n++
	if err := os.WriteFile(name, []byte(strconv.Itoa(n)), 0o644); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "visit %d\n", n)
}

// files shows the files of SHOW; of secrets, only their size and digest.
func (s *site) files(w http.ResponseWriter, _ *http.Request) {
	for name := range strings.SplitSeq(os.Getenv("SHOW"), ":") {
		data, err := os.ReadFile(name)
		switch {
		case err != nil:
			fmt.Fprintln(w, err)
		case strings.HasPrefix(name, "/run/secrets/"):
			fmt.Fprintf(w, "%s: %d bytes, sha256 %x\n", name, len(data), sha256.Sum256(data))
		default:
			fmt.Fprintf(w, "%s:\n%s\n", name, data)
		}
	}
}

// peer asks another service.
func (s *site) peer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	body, err := get(ctx, os.Getenv("PEER"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%s heard: %s", s.host, body)
}

// eat takes memory and keeps it, so that a limit shows.
func (s *site) eat(w http.ResponseWriter, r *http.Request) {
	mb, err := strconv.Atoi(r.URL.Query().Get("mb"))
	if err != nil || mb < 1 || mb > 1<<16 {
		http.Error(w, "how much? /eat?mb=100", http.StatusBadRequest)
		return
	}
	food := make([]byte, mb<<20)
	for i := 0; i < len(food); i += 4096 {
		food[i] = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eaten = append(s.eaten, food)
	fmt.Fprintf(w, "ate %d MB\n", mb)
}

// get fetches a URL that must answer 200.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
