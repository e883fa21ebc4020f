package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var base = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func line(n int) string {
	return fmt.Sprintf(`{"t":%q,"s":"stdout","m":"line %d"}`+"\n", base.Add(time.Duration(n)*time.Second).Format(time.RFC3339Nano), n)
}

func appendLines(t *testing.T, path string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		if _, err := f.WriteString(l); err != nil {
			t.Fatal(err)
		}
	}
}

func texts(t *testing.T, path string, opt Options) []string {
	t.Helper()
	var all []string
	for e, err := range Read(t.Context(), path, opt) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Text)
	}
	return all
}

func TestReadsRotatedFilesInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendLines(t, path+".2", line(1))
	appendLines(t, path+".1", line(2), line(3))
	appendLines(t, path, line(4), "torn by a crash\n", line(5), `{"t":"half`)
	for _, tc := range []struct {
		name string
		opt  Options
		want []string
	}{
		{"all", Options{Tail: -1}, []string{"line 1", "line 2", "line 3", "line 4", "line 5"}},
		{"tail", Options{Tail: 3}, []string{"line 3", "line 4", "line 5"}},
		{"tail larger than all", Options{Tail: 30}, []string{"line 1", "line 2", "line 3", "line 4", "line 5"}},
		{"no tail", Options{Tail: 0}, nil},
		{"since", Options{Tail: -1, Since: base.Add(4 * time.Second)}, []string{"line 4", "line 5"}},
		{"since and tail", Options{Tail: 1, Since: base.Add(2 * time.Second)}, []string{"line 5"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := texts(t, path, tc.opt); !slices.Equal(got, tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestMissingLogIsAnError(t *testing.T) {
	for _, err := range Read(t.Context(), filepath.Join(t.TempDir(), "log"), Options{Tail: -1}) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestFollowsAcrossRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ended := make(chan struct{})
	got := make(chan string)
	go func() {
		defer close(got)
		for e, err := range Read(context.Background(), path, Options{Tail: -1, Ended: ended}) {
			if err != nil {
				got <- err.Error()
				return
			}
			got <- e.Text
		}
	}()
	want := func(text string) {
		t.Helper()
		select {
		case g := <-got:
			if g != text {
				t.Fatalf("got %q, want %q", g, text)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no %q", text)
		}
	}
	appendLines(t, path, line(1))
	want("line 1")
	appendLines(t, path, line(2))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendLines(t, path, line(3)[:10])
	want("line 2")
	appendLines(t, path, line(3)[10:])
	want("line 3")
	appendLines(t, path, line(4))
	close(ended)
	want("line 4")
	if g, more := <-got; more {
		t.Fatalf("got %q after the end", g)
	}
}
