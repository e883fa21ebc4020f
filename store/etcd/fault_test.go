package etcd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Where etcd would end the process, one goroutine ends; the engine says why and refuses everything.
func TestFatalErrorStopsTheEngine(t *testing.T) {
	var logged bytes.Buffer
	e, err := Start(t.Context(), Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	batches, err := e.Watch(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, die := range []func(string, ...zap.Field){e.fault.logger().Fatal, e.fault.logger().Panic} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			die("failed to save", zap.Error(unix.EIO))
			t.Error("the goroutine goes on")
		}()
		<-ended
	}
	<-e.Failed()
	_, err = e.Commit(t.Context(), nil, []store.Op{{Key: "a", Value: []byte("1")}})
	for _, err := range []error{err, e.Err()} {
		if !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "failed to save: input/output error") {
			t.Errorf("error %v", err)
		}
	}
	for range batches {
		t.Error("the watch delivers")
	}
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if !strings.Contains(logged.String(), "failed to save") {
		t.Errorf("the log says %q", &logged)
	}
	e.server.HardStop() // which Close dares not: a real fault leaves locks behind
}
