package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load sends GETs, and POSTs now and then, from n clients until stop, counts those answered with 200, and returns what
// went wrong.
func (r *rig) load(n int, stop <-chan struct{}, ok *atomic.Int64) func() []string {
	return r.loadWith(n, stop, ok, r.one)
}

func (r *rig) loadWith(
	n int, stop <-chan struct{}, ok *atomic.Int64, one func(*http.Client, string, bool) error,
) func() []string {
	var mu sync.Mutex
	var bad []string
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c := r.client()
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := one(c, fmt.Sprintf("%d.%d", i, k), k%10 == 9); err != nil {
					mu.Lock()
					bad = append(bad, err.Error())
					mu.Unlock()
					continue
				}
				ok.Add(1)
			}
		})
	}
	return func() []string { all.Wait(); return bad }
}

func (r *rig) one(c *http.Client, nonce string, post bool) error {
	var resp *http.Response
	var err error
	if post {
		resp, err = c.Post("http://"+r.addr+"/?n="+nonce, "text/plain", strings.NewReader(nonce))
	} else {
		resp, err = c.Get("http://" + r.addr + "/?n=" + nonce)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 || string(body) != nonce {
		return fmt.Errorf("%s: %d %q", nonce, resp.StatusCode, body)
	}
	return nil
}

// echoNonce answers with the request's nonce, after up to a few milliseconds.
func echoNonce(w http.ResponseWriter, req *http.Request) {
	io.Copy(io.Discard, req.Body)
	time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // the server's work
	io.WriteString(w, req.FormValue("n"))
}
