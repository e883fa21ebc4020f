package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdfast/holdfast/container"
)

func at() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 789, time.UTC) }

// FuzzEntry: an entry is one line, whose text encoding/json reads as the text that was written.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{"", "plain", "tab\tquote\" back\\ cr\r nul\x00 del\x7f", "é 日本 \xff\xfe \xe2\x80\xa8", "\xed\xa0\x80", "</script>"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, partial bool) {
		text = bytes.ReplaceAll(text, []byte("\n"), nil)
		line := appendEntry(nil, at(), "stdout", partial, text)
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("%q is not one line", line)
		}
		var got struct {
			T time.Time
			S string
			P bool
			M string
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := string([]rune(string(text))) // invalid bytes become U+FFFD, each
		if got.M != want || got.P != partial || got.S != "stdout" || !got.T.Equal(at()) {
			t.Errorf("%q reads as %+v, want %q", line, got, want)
		}
	})
}

// FuzzSplit: whatever the pieces that output comes in, the entries make up the output again.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), uint16(3))
	f.Add([]byte(strings.Repeat("é", MaxLine)+"\nend\n"), uint16(1000))
	f.Add([]byte("\n\n"), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16) {
		s := NewStream("stdout", nil, NewLog(container.Log{}, at))
		var all []byte
		take := func(list []entry) {
			for _, e := range list {
				if len(e.text) > MaxLine {
					t.Fatalf("entry of %d bytes", len(e.text))
				}
				all = append(all, e.text...)
				if !e.partial {
					all = append(all, '\n')
				}
			}
		}
		size := int(piece) + 1
		for rest := bytes.Clone(data); len(rest) > 0; {
			n := min(size, len(rest))
			take(s.split(bytes.Clone(rest[:n])))
			rest = rest[n:]
		}
		if all = append(all, s.rest...); !bytes.Equal(all, data) {
			t.Errorf("%q became %q", data, all)
		}
	})
}

func TestCut(t *testing.T) {
	long := []byte(strings.Repeat("x", MaxLine-1) + "é tail")
	if n := cut(long); n != MaxLine-1 || !utf8.Valid(long[:n]) {
		t.Errorf("cut at %d", n)
	}
	if n := cut(bytes.Repeat([]byte{0x80}, MaxLine+10)); n != MaxLine {
		t.Errorf("bytes that are no text: cut at %d", n)
	}
}

// newLog returns a log of small files in a new directory.
func newLog(t *testing.T, opt container.Log) (*Log, string) {
	opt.Path = filepath.Join(t.TempDir(), "log")
	l := NewLog(opt, at)
	t.Cleanup(func() { l.Close() })
	return l, opt.Path
}

func texts(t *testing.T, path string) (list []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e struct{ M string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, e.M)
	}
	return list
}

func TestRotation(t *testing.T) {
	for _, tc := range []struct {
		files int
		want  map[string]string // file -> its texts
	}{
		{0, map[string]string{"": "4"}},
		{1, map[string]string{"": "4"}},
		{2, map[string]string{"": "4", ".1": "2 3"}},
		{4, map[string]string{"": "4", ".1": "2 3", ".2": "0 1"}},
	} {
		one := len(appendEntry(nil, at(), "stdout", false, []byte("0")))
		l, path := newLog(t, container.Log{MaxBytes: int64(2*one + 1), MaxFiles: tc.files})
		var all []entry
		for i := range 5 {
			all = append(all, entry{text: []byte(fmt.Sprint(i))})
		}
		l.write("stdout", all)
		for name, want := range tc.want {
			if got := strings.Join(texts(t, path+name), " "); got != want {
				t.Errorf("%d files: %q holds %q, want %q", tc.files, name, got, want)
			}
		}
		if all, _ := filepath.Glob(path + "*"); len(all) != len(tc.want) {
			t.Errorf("%d files: %v", tc.files, all)
		}
	}
}

// TestLost: what cannot be written is counted, and told of when it can.
func TestLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	l := NewLog(container.Log{Path: filepath.Join(dir, "log")}, at)
	defer l.Close()
	l.write("stdout", []entry{{text: []byte("a")}, {text: []byte("b")}})
	l.write("stdout", []entry{{text: []byte("c")}})
	if n, err := l.Lost(); n != 3 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lost %d, %v", n, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.write("stdout", []entry{{text: []byte("d")}})
	got := texts(t, filepath.Join(dir, "log"))
	if len(got) != 2 || !strings.HasPrefix(got[0], "holdfast: 3 lines were lost: ") || got[1] != "d" {
		t.Errorf("%q", got)
	}
	if n, _ := l.Lost(); n != 0 {
		t.Errorf("still lost: %d", n)
	}
}

// pipe returns a running stream and what it reads.
func pipe(t *testing.T, l *Log) (*Stream, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := NewStream("stderr", r, l)
	go s.Run()
	return s, w
}

func TestStream(t *testing.T) {
	l, path := newLog(t, container.Log{})
	s, w := pipe(t, l)
	tap, err := s.Attach()
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	if _, err := io.WriteString(w, "one\ntwo"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	<-s.Done()
	if got := strings.Join(texts(t, path), "|"); got != "one|two" {
		t.Errorf("log %q", got)
	}
	if got, err := io.ReadAll(tap); err != nil || string(got) != "one\ntwo" {
		t.Errorf("tap %q, %v", got, err)
	}
	late, err := s.Attach()
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if got, err := io.ReadAll(late); err != nil || len(got) != 0 {
		t.Errorf("late tap %q, %v", got, err)
	}
}

// TestSlowTap: one who is attached and reads nothing, or went away, holds nobody up.
func TestSlowTap(t *testing.T) {
	l, path := newLog(t, container.Log{})
	s, w := pipe(t, l)
	slow, err := s.Attach()
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	gone, err := s.Attach()
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	const lines = 50_000 // much more than a pipe holds
	for i := range lines {
		if _, err := fmt.Fprintln(w, i); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	<-s.Done()
	if got := texts(t, path); len(got) != lines || got[lines-1] != fmt.Sprint(lines-1) {
		t.Errorf("%d lines in the log", len(got))
	}
	if got, err := io.ReadAll(slow); err != nil || !strings.HasPrefix(string(got), "0\n1\n2\n") {
		t.Errorf("slow tap: %d bytes, %v", len(got), err)
	}
}

type control struct{ stdinClosed, closed int }

func (*control) Signal(syscall.Signal) error { return nil }
func (*control) Wait() (int, error)          { return 3, nil }
func (c *control) CloseStdin() error         { c.stdinClosed++; return nil }
func (c *control) Close() error              { c.closed++; return nil }

func TestExec(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var c control
	e := NewExec(Files{Stdin: w}, &c)
	if e.Stderr() != nil {
		t.Error("there is a standard error")
	}
	if _, err := io.WriteString(e.Stdin(), "in"); err != nil {
		t.Fatal(err)
	}
	if err := e.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "in" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := io.ReadAll(e.Stdout()); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if err := e.Resize(1, 2); err == nil {
		t.Error("resized what is no terminal")
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if c.stdinClosed != 1 || c.closed != 1 {
		t.Errorf("%+v", c)
	}
}
