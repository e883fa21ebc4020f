package daemon

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
)

// TestConfigMistakes: each flag that no agent can run with, and the text that says so.
func TestConfigMistakes(t *testing.T) {
	long := "/" + strings.Repeat("r", 100)
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"good", func(*Config) {}, ""},
		{"all off", func(c *Config) { c.HTTP, c.HTTPS, c.Registry = "off", "off", "off" }, ""},
		{"relative data", func(c *Config) { c.DataDir = "data" }, "--data data: give an absolute path"},
		{"relative run", func(c *Config) { c.RunDir = "./run" }, "--run ./run: give an absolute path"},
		{"relative cgroup", func(c *Config) { c.CgroupParent = "holdfast" }, "--cgroup-parent holdfast: give an absolute path"},
		{"http without port", func(c *Config) { c.HTTP = "80" }, `--http 80: want HOST:PORT, :PORT or "off"`},
		{"http with a name for a port", func(c *Config) { c.HTTP = ":http" }, `--http :http: want HOST:PORT, :PORT or "off"`},
		{"https out of range", func(c *Config) { c.HTTPS = ":65536" }, `--https :65536: want HOST:PORT, :PORT or "off"`},
		{"registry", func(c *Config) { c.Registry = "none" }, `--registry none: want HOST:PORT, :PORT or "off"`},
		{"long run", func(c *Config) { c.RunDir = long }, "--run " + long + ": too long for a unix socket below it; give a path of at most 91 bytes"},
		{"longest run", func(c *Config) { c.RunDir = long[:91] }, ""},
		{"negative hold", func(c *Config) { c.HoldFor = -time.Second }, "--hold -1s: must not be negative"},
		{"negative pool", func(c *Config) { c.PoolMin = -1 }, "--pool-min -1, --pool-max 16: want 0 <= min <= max"},
		{"small pool", func(c *Config) { c.PoolMin, c.PoolMax = 4, 3 }, "--pool-min 4, --pool-max 3: want 0 <= min <= max"},
		{"node with a space", func(c *Config) { c.NodeName = "my node" }, `--node "my node": want a name without spaces and slashes`},
		{"node with a slash", func(c *Config) { c.NodeName = "a/b" }, `--node "a/b": want a name without spaces and slashes`},
	} {
		cfg := Config{NodeName: "n"}
		tt.change(&cfg)
		err := cfg.Defaults().Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || err.Error() != tt.want || !errors.Is(err, holdfast.ErrInvalid)):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestOneAgentPerDirectory: the second agent of a data directory ends before it has touched anything.
func TestOneAgentPerDirectory(t *testing.T) {
	data, run := t.TempDir(), filepath.Join(t.TempDir(), "run")
	held, err := lock(data)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	err = Run(t.Context(), Config{DataDir: data, RunDir: run, NodeName: "n", HTTP: "off", Registry: "off"})
	want := "another agent runs on " + data + "; stop it first, or give --data another directory"
	if !errors.Is(err, holdfast.ErrConflict) || err.Error() != want {
		t.Errorf("the second agent: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(run, "*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	held.Close()
	again, err := lock(data)
	if err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	again.Close()
}
