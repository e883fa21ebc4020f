//go:build linux

package oci

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

// FuzzLookup reads user files that an image's author wrote: whatever is in them, there is a user or an error of a kind.
func FuzzLookup(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n", "extra:x:2000:app\n", "app:extra", "extra")
	f.Add("a:b:c\n:::\napp:x:99999999999:1::\n", "\x00:x:-1:", "app", "2000")
	f.Fuzz(func(t *testing.T, passwd, group, user, more string) {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"etc/passwd": passwd, "etc/group": group} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		u, err := lookup(root, user, []string{more})
		if err != nil && holdfast.KindOf(err) == nil {
			t.Errorf("error of no kind: %v", err)
		}
		if err == nil && (int32(u.UID) < 0 || int32(u.GID) < 0) {
			t.Errorf("%+v", u)
		}
	})
}

// FuzzLines cuts any output into lines: joined again they are the output.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo"), 3)
	f.Add(bytes.Repeat([]byte("x"), 40_000), 7000)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		step = max(1, step)
		var b lineBuffer
		var got strings.Builder
		take := func(line []byte, partial bool) {
			if len(line) > maxLine || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("line of %d bytes", len(line))
			}
			got.Write(line)
			if !partial {
				got.WriteByte('\n')
			}
		}
		for rest := text; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			b.add(rest[:min(step, len(rest))], take)
		}
		got.Write(b.rest())
		if got.String() != string(text) {
			t.Errorf("got %q, want %q", got.String(), text)
		}
	})
}
