package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

type memory struct {
	points map[string]int
	down   bool
}

func (m *memory) ping(context.Context) error {
	if m.down {
		return errors.New("down")
	}
	return nil
}

func (m *memory) best(context.Context, int) ([]score, error) {
	var all []score
	for p, n := range m.points {
		all = append(all, score{p, n})
	}
	return all, nil
}

func (m *memory) add(_ context.Context, player string, points int) (int, error) {
	m.points[player] += points
	return m.points[player], nil
}

func TestRequestsNeedAGoodToken(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	tk := tokens{key: []byte("key"), now: func() time.Time { return now }}
	good, err := tk.issue("ada")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := tokens{key: []byte("other"), now: tk.now}.issue("ada")
	old, _ := tokens{key: tk.key, now: func() time.Time { return now.Add(-2 * time.Hour) }}.issue("ada")
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.RegisteredClaims{Subject: "ada", Issuer: "arcade"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	handler := routes(tk, &memory{points: map[string]int{}}, "r1")
	for _, tc := range []struct {
		name, header string
		status       int
	}{
		{"good", "Bearer " + good, 200}, {"missing", "", 401}, {"wrong key", "Bearer " + other, 401},
		{"expired", "Bearer " + old, 401}, {"unsigned", "Bearer " + none, 401}, {"not a token", "Bearer x", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/scores", strings.NewReader(`{"points": 3}`))
			r.Header.Set("Authorization", tc.header)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tc.status, w.Body)
			}
		})
	}
}

func TestHealthFollowsTheDatabase(t *testing.T) {
	m := &memory{}
	handler := routes(tokens{now: time.Now}, m, "r1")
	for _, down := range []bool{false, true} {
		m.down = down
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		if (w.Code == http.StatusOK) == down {
			t.Fatalf("down=%v answered %d", down, w.Code)
		}
	}
}
