package loop

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestWheelFiresEachOnceInTime moves deadlines about and compares with a list.
func TestWheelFiresEachOnceInTime(t *testing.T) {
	var w wheel
	rng := rand.New(rand.NewPCG(1, 2))
	conns := make([]*conn, 200)
	want := map[*conn]time.Duration{}
	now := time.Duration(0)
	set := func(c *conn) {
		at := now + time.Duration(rng.IntN(100_000))*time.Millisecond // beyond the horizon of 25.6 s, too
		w.set(c, at)
		want[c] = at
	}
	for i := range conns {
		conns[i] = &conn{}
		set(conns[i])
	}
	fired := 0
	for now < 210*time.Second {
		wait := w.wait(now)
		if wait < 0 {
			break
		}
		now += wait + time.Duration(rng.IntN(3))*time.Millisecond
		w.due(now, func(c *conn) {
			at, ok := want[c]
			if !ok || now < at || now > at+2*wheelTick {
				t.Fatalf("fired at %v, want %v (%v)", now, at, ok)
			}
			delete(want, c)
			fired++
		})
		if c := conns[rng.IntN(len(conns))]; now < 100*time.Second {
			switch _, waits := want[c]; {
			case waits && rng.IntN(2) == 0:
				set(c)
			case waits:
				w.remove(c)
				delete(want, c)
			}
		}
	}
	if len(want) != 0 || fired < 50 {
		t.Errorf("%d fired, %d are left", fired, len(want))
	}
	for i, word := range w.used {
		if word != 0 {
			t.Errorf("slots %d to %d are marked as used", 64*i, 64*i+63)
		}
	}
}
