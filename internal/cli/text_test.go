package cli

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

func TestHuman(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 1234567: "1ms", 999 * time.Millisecond: "999ms", 1500 * time.Millisecond: "1.5s", 59 * time.Second: "59s",
		60 * time.Second: "1m", 61 * time.Second: "1m1s", time.Hour: "1h", 25*time.Hour + time.Minute: "1d1h", 48 * time.Hour: "2d",
	} {
		if got := age(d); got != want {
			t.Errorf("age of %v is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 30 << 20: "30 MiB", 5 << 30: "5.0 GiB", 1 << 60: "1024 PiB"} {
		if got := size(n); got != want {
			t.Errorf("size of %d is %s, want %s", n, got, want)
		}
	}
	for ref, want := range map[string]string{
		"nginx:1.27@sha256:abc": "nginx:1.27", "a/b:1ab7a603d29a213028111b4ad22dd780": "a/b:1ab7a603d29a", "localhost:5000/x": "localhost:5000/x", "x": "x",
	} {
		if got := shortImage(ref); got != want {
			t.Errorf("short image of %s is %s, want %s", ref, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 10, "short"}, {"exactly", 7, "exactly"}, {"too long", 4, "too…"}, {"üüüü", 3, "üü…"},
		{"\x1b[31mred text\x1b[0m", 4, "\x1b[31mred…\x1b[0m"}, {"\x1b[31mred\x1b[0m", 3, "\x1b[31mred\x1b[0m"},
	} {
		if got := clip(tt.text, tt.width); got != tt.want {
			t.Errorf("clip(%q, %d) is %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

// TestBoard draws a rollout with everything that can be on it.
func TestBoard(t *testing.T) {
	r := newRig(t)
	r.troubled()
	v, err := r.agent.Client.App(t.Context(), "arcade")
	if err != nil {
		t.Fatal(err)
	}
	now := apitest.Epoch.Add(90 * time.Second)
	b := &board{title: "arcade", started: apitest.Epoch, view: &v, goal: newGoal(api.AppView{}, v), jobs: []*job{
		{name: "build api", detail: "step 3 of 9", started: apitest.Epoch},
		{name: "pull nginx:1.27", detail: "download", current: 6 << 20, total: 24 << 20, started: apitest.Epoch},
		{name: "pull old:1", detail: "24 MiB", started: apitest.Epoch, finished: apitest.Epoch.Add(4 * time.Second)},
		{name: "pull none:1", started: apitest.Epoch, finished: apitest.Epoch.Add(time.Second), err: errors.New("no such image")},
	}}
	golden(t, "board.txt", strings.Join(b.lines(style{}, now, 2, 100, 40), "\n")+"\n")
	small := b.lines(style{on: true}, now, 2, 30, 6)
	if len(small) != 5 || !strings.Contains(small[4], "more lines") {
		t.Errorf("on a small terminal: %q", small)
	}
	for _, line := range small {
		if displayWidth(line) > 30 {
			t.Errorf("too wide: %q", line)
		}
	}
}

func TestGoal(t *testing.T) {
	svc := func(phase holdfast.Phase, from, release, want, updated int) *api.ServiceView {
		return &api.ServiceView{
			Service: holdfast.Service{Name: "web", Release: release, Rollout: holdfast.Rollout{From: from, To: release, Phase: phase, Reason: "why"}},
			Want:    want, Updated: updated, Ready: updated,
		}
	}
	paused := svc(holdfast.Rolling, 1, 2, 2, 0)
	paused.Paused = true
	backing := svc(holdfast.Done, 1, 2, 2, 1)
	backing.Backoff.Failures = 2
	for _, tt := range []struct {
		name string
		s    *api.ServiceView
		want verdict
	}{
		{"rolling", svc(holdfast.Rolling, 1, 2, 2, 1), pending},
		{"all ready, still rolling", svc(holdfast.Rolling, 1, 2, 2, 2), pending},
		{"monitoring an update", svc(holdfast.Monitoring, 1, 2, 2, 2), pending},
		{"monitoring a first release", svc(holdfast.Monitoring, 0, 2, 2, 2), reached},
		{"done", svc(holdfast.Done, 1, 2, 2, 2), reached},
		{"done, and one died since", svc(holdfast.Done, 1, 2, 2, 1), pending},
		{"done, and they keep dying", backing, pending},
		{"rolling back", svc(holdfast.RollingBack, 1, 2, 2, 0), pending},
		{"rolled back", svc(holdfast.RolledBack, 1, 1, 2, 2), failed},
		{"halted", svc(holdfast.Halted, 1, 2, 2, 0), failed},
		{"overtaken", svc(holdfast.Rolling, 1, 3, 2, 0), failed},
		{"paused", paused, reached},
	} {
		g := goal{releases: map[string]int{"web": 2}}
		if got, why := g.judge(tt.s); got != tt.want {
			t.Errorf("%s: %v (%s), want %v", tt.name, got, why, tt.want)
		}
	}
	if got, _ := (goal{steady: map[string]bool{"web": true}}).judge(backing); got != reached {
		t.Errorf("a service that did not change and keeps failing holds the others up")
	}
}

// TestUnpackStaysInside: names and links of a tar that want out of the directory do not get out.
func TestUnpackStaysInside(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"dots":          {{Name: "../../out", Typeflag: tar.TypeReg}},
		"absolute":      {{Name: "/out", Typeflag: tar.TypeReg}},
		"through link":  {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "link/out", Typeflag: tar.TypeReg}},
		"through abs":   {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, {Name: "link/holdfast-test-out", Typeflag: tar.TypeReg}},
		"hard link out": {{Name: "hard", Typeflag: tar.TypeLink, Linkname: "../secret"}},
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "dir")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(parent, "secret"), []byte("s"), 0o600)); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := range headers {
			if err := w.WriteHeader(&headers[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_ = unpackTar(&b, dir, "") // an error is as good as a file inside
		if _, err := os.Lstat(filepath.Join(parent, "out")); err == nil {
			t.Errorf("%s: a file was written outside", name)
		}
		if _, err := os.Lstat("/tmp/holdfast-test-out"); err == nil {
			t.Errorf("%s: a file was written to /tmp", name)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "hard")); err == nil && string(data) == "s" {
			t.Errorf("%s: a file from outside was linked in", name)
		}
	}
}
