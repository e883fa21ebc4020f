package watch

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/holdfast/holdfast/container"
)

func TestHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub Hub
		ctx, cancel := context.WithCancel(t.Context())
		slow := hub.Subscribe(ctx, nil)
		first := []container.Status{{ID: "a"}, {ID: "b"}}
		fast := hub.Subscribe(ctx, first)
		for i := range 100 {
			hub.Publish(container.Status{ID: fmt.Sprint(i)})
		}
		for _, want := range []string{"a", "b", "0", "1", "2"} {
			if got := <-fast; got.ID != want {
				t.Fatalf("got %s, want %s", got.ID, want)
			}
		}
		for i := range 100 {
			if got := <-slow; got.ID != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got.ID, i)
			}
		}
		cancel()
		synctest.Wait()
		if _, open := <-slow; open {
			t.Error("channel is open after its context ended")
		}
		if len(hub.subs) != 0 {
			t.Errorf("%d subscribers left", len(hub.subs))
		}
	})
}
