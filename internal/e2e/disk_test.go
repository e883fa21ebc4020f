package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/internal/netlab"
)

// smallDisk gives a node that has not started its agent a data directory of a few MiB.
func smallDisk(n *netlab.Node, size string) {
	n.Output("mkdir", "-p", n.DataDir())
	n.Output("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", n.DataDir())
}

// fillDisk leaves no byte of the data directory free, and freeDisk gives the space back.
func fillDisk(n *netlab.Node) {
	n.T.Helper()
	n.Output("sh", "-c", "head -c 1G /dev/zero >"+n.DataDir()+"/filler 2>/dev/null; true")
}

func freeDisk(n *netlab.Node) { n.Output("rm", n.DataDir()+"/filler") }

// tarOf makes a tar of a root file system with size bytes that cannot be made smaller.
func tarOf(t *testing.T, size int) string {
	t.Helper()
	data := make([]byte, size)
	rand.Read(data) //nolint:errcheck // it never fails
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	err := w.WriteHeader(&tar.Header{Name: "data", Mode: 0o644, Size: int64(size)})
	if err == nil {
		_, err = w.Write(data)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rootfs.tar")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFullDiskRefusesAndLosesNothing(t *testing.T) {
	n := netlab.New(t, "small")
	smallDisk(n, "256m")
	n.StartAgent()
	a := deploy(t, n, serverApp(t, 2, `VERSION=one`, ""))
	before := a.waitReady("web", 2)
	archive := tarOf(t, 24<<20)
	a.underLoad(50, "/", func() {
		fillDisk(n)
		for _, tc := range []struct {
			what string
			args []string
		}{
			{"a change of state", []string{"scale", "web=3"}},
			{"an image", []string{"image", "import", archive, "big:1"}},
		} {
			r := a.Try(a.dir, tc.args...)
			if text := r.Out + r.Err; r.Code == 0 || !(strings.Contains(text, "full") || strings.Contains(text, "no space left")) {
				t.Errorf("%s on a full disk: exit %d: %s", tc.what, r.Code, text)
			}
		}
		a.write(serverApp(t, 2, `VERSION=two`, ""))
		if r := a.Try(a.dir, "up"); r.Code == 0 || !strings.Contains(r.Out+r.Err, "full") {
			t.Errorf("up on a full disk: exit %d: %s%s", r.Code, r.Out, r.Err)
		}
		if now := a.waitReady("web", 2); !sameReplica(now[0], before[0]) || !sameReplica(now[1], before[1]) {
			t.Error("replicas were changed by what was refused")
		}
		freeDisk(n)
		a.run("image", "import", archive, "big:1")
		a.run("up")
		a.run("scale", "web=3")
	})
	// What was acknowledged is on the disk: the next agent has it too.
	n.KillAgent()
	n.StartAgent()
	a.waitReady("web", 3)
	if body := a.mustGet("/"); !strings.HasPrefix(body, "two ") {
		t.Errorf("GET / answered %q", body)
	}
	if images := a.run("image", "ls"); !strings.Contains(images, "big:1") {
		t.Errorf("the images are %s", images)
	}
}

// A replica that dies while the state cannot be written is replaced once it can.
func TestReplicaThatDiesOnAFullDiskIsReplacedLater(t *testing.T) {
	n := netlab.New(t, "small")
	smallDisk(n, "256m")
	n.StartAgent()
	a := deploy(t, n, serverApp(t, 3, `VERSION=one`, ""))
	victim := a.waitReady("web", 3)[0]
	fillDisk(n)
	a.Kill(victim.Status.PID)
	a.mustGet("/")
	freeDisk(n)
	a.waitReplaced(victim, 3)
}
