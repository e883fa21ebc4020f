package mem_test

import (
	"testing"
	"testing/synctest"

	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
	"github.com/holdfast/holdfast/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.KV { return mem.New() })
}

func TestWatchTooFarBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := mem.New()
		for range 25_000 {
			if _, err := kv.Commit(t.Context(), nil, []store.Op{{Key: "a", Value: []byte("x")}}); err != nil {
				t.Fatal(err)
			}
		}
		batches, err := kv.Watch(t.Context(), "", 2)
		if err != nil {
			t.Fatal(err)
		}
		if b, open := <-batches; open {
			t.Errorf("delivered %v after a gap", b)
		}
	})
}
