package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
)

const crashEnv = "HOLDFAST_TEST_CRASH_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		first, err := strconv.Atoi(os.Getenv(crashEnv + "_FIRST"))
		if err == nil {
			err = crashWorker(dir, first)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// crashWorker imports, tags and prunes without end, counting from first, and writes a line for each that was acknowledged.
func crashWorker(dir string, first int) error {
	s, err := Open(dir, Options{Grace: time.Nanosecond})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	ctx := context.Background()
	for i := first; ; i++ {
		ref := fmt.Sprintf("app:%d", i%3)
		data := crashLayer(i)
		img, err := s.Import(ctx, bytes.NewReader(data), ref, nil)
		if err != nil {
			return err
		}
		fmt.Println("import", ref, img.Digest, i)
		if i%4 == 3 {
			if err := s.Tag(ctx, ref, "kept:1"); err != nil {
				return err
			}
			fmt.Println("import", "kept:1", img.Digest, i)
		}
		if i%5 == 4 {
			if _, err := s.Prune(ctx, func(ref, _ string) bool { return ref != "" }); err != nil {
				return err
			}
		}
	}
}

func crashLayer(i int) []byte {
	return []byte(strings.Replace(string(crashTar), "NUMBERHERE", fmt.Sprintf("%010d", i), 1))
}

var crashTar = func() []byte {
	var t testing.T
	return makeTar(&t, entry("n", '0', "NUMBERHERE"), entry("more", '0', strings.Repeat("x", 20000)))
}()

// TestStoreSurvivesKill kills a process that works on a store at random moments, and checks each time that the store
// opens, that what was acknowledged is there and whole, and that nothing else counts.
func TestStoreSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	acked := map[string]string{} // by reference: "digest number"
	for round := range 12 {
		out := runUntilKilled(t, dir, 1000*(round+1)+round, time.Duration(rng.IntN(400))*time.Millisecond)
		lines := strings.Split(out, "\n")
		if lines[len(lines)-1] != "" { // a line half written was not acknowledged
			lines = lines[:len(lines)-1]
		}
		for _, line := range lines {
			if f := strings.Fields(line); len(f) == 4 {
				acked[f[1]] = f[2] + " " + f[3]
			}
		}
		checkAfterKill(t, dir, acked)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	if len(acked) != 4 {
		t.Errorf("only %d references were written; the rounds are too short to test anything", len(acked))
	}
}

func runUntilKilled(t *testing.T, dir string, first int, after time.Duration) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+dir, fmt.Sprintf("%s_FIRST=%d", crashEnv, first))
	var out, errOut bytes.Buffer
	ready := make(chan struct{})
	cmd.Stdout, cmd.Stderr = &readyWriter{buf: &out, ready: ready}, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-ready
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	defer timer.Stop()
	cmd.Wait() //nolint:errcheck // it was killed
	if errOut.Len() > 0 {
		t.Fatalf("worker: %s", errOut.String())
	}
	return out.String()
}

// readyWriter closes ready with the first write.
type readyWriter struct {
	buf   *bytes.Buffer
	ready chan struct{}
}

func (w *readyWriter) Write(p []byte) (int, error) {
	if w.buf.Len() == 0 {
		close(w.ready)
	}
	return w.buf.Write(p)
}

func checkAfterKill(t *testing.T, dir string, acked map[string]string) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for ref, want := range acked {
		img, err := s.Get(t.Context(), ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		n := strings.TrimLeft(readFile(t, img, "n"), "0")
		digest, number, _ := strings.Cut(want, " ")
		// The import after the last acknowledged one may have been completed, and not yet said so.
		if img.Digest != digest && n <= number && len(n) <= len(number) {
			t.Errorf("%s is import %s, want %s or later", ref, n, number)
		}
	}
	images, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		checkWhole(t, s, img)
	}
	left, err := os.ReadDir(filepath.Join(dir, tmpDir))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files stay: %v, %v", left, err)
	}
}

func checkWhole(t *testing.T, s *Store, img Image) {
	t.Helper()
	for _, d := range append([]string{img.Digest, img.Manifest}, img.Layers[0].Digest) {
		f, err := s.openBlob(d)
		if err != nil {
			t.Errorf("%s: %v", img.Ref, err)
			continue
		}
		var all bytes.Buffer
		_, err = all.ReadFrom(f)
		f.Close()
		if got := digestOf(all.Bytes()); err != nil || got != d {
			t.Errorf("%s: content %s is %s, %v", img.Ref, d, got, err)
		}
	}
	if img.EROFS != "" && len(readFile(t, img, "more")) != 20000 {
		t.Errorf("%s: root file system is broken", img.Ref)
	}
	if _, err := s.Get(t.Context(), "docker.io/library/none:1"); !errors.Is(err, holdfast.ErrNotFound) {
		t.Error(err)
	}
}
