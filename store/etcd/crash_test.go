package etcd_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/etcd"
)

// The test binary, started with this variable, commits to the directory it names until it is killed.
const writerEnv = "HOLDFAST_TEST_WRITE_TO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := write(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// write commits from several goroutines and prints each key once its commit is acknowledged.
func write(dir string) error {
	ctx := context.Background()
	kv, err := etcd.Start(ctx, etcd.Config{Dir: dir})
	if err != nil {
		return err
	}
	_, start, err := kv.Range(ctx, "\x00")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", start, g, i)
				if _, err := kv.Commit(ctx, nil, []store.Op{{Key: key, Value: []byte(key)}}); err != nil {
					return
				}
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// writeAndKill runs a writer on dir, kills it after it acknowledged about n commits, and returns their keys.
func writeAndKill(t *testing.T, dir string, n int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if keys = append(keys, lines.Text()); len(keys) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(keys) < n {
		t.Fatalf("the writer ended by itself after %d commits: %v", len(keys), err)
	}
	return keys
}

func TestKilledWriterLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var acknowledged []string
	for range 5 {
		acknowledged = append(acknowledged, writeAndKill(t, dir, 1+random.IntN(1500))...)
		expectKeys(t, dir, acknowledged)
	}
}

func expectKeys(t *testing.T, dir string, keys []string) {
	t.Helper()
	kv := start(t, dir)
	defer kv.Close()
	entries, _, err := kv.Range(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]string, len(entries))
	for _, e := range entries {
		there[e.Key] = string(e.Value)
	}
	for _, key := range keys {
		if there[key] != key {
			t.Fatalf("%s was acknowledged and is not there after the crash; %d of %d are", key, len(there), len(keys))
		}
	}
}

// logTail returns the newest segment of the write-ahead log and where its records end.
func logTail(t *testing.T, dir string) (path string, data []byte, end int) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "etcd/member/wal/*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	path = segments[len(segments)-1]
	if data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	for end = len(data); data[end-1] == 0; end-- {
	}
	return path, data, end
}

// A record whose first sector alone reached the disk was never acknowledged: it is dropped.
func TestTornLogTail(t *testing.T) {
	dir := t.TempDir()
	keys := writeAndKill(t, dir, 300)
	path, data, end := logTail(t, dir)
	const sector = 512
	frame := (end + 7) / 8 * 8
	copy(data[frame:], []byte{0x00, 0x08, 0, 0, 0, 0, 0, 0x80}) // 2048 bytes follow, says the frame
	for i := frame + 8; i < (frame/sector+1)*sector; i++ {
		data[i] = byte(i)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	expectKeys(t, dir, keys)
	expectKeys(t, dir, keys)
}

func TestCorruptLogIsAnError(t *testing.T) {
	dir := t.TempDir()
	writeAndKill(t, dir, 300)
	path, data, end := logTail(t, dir)
	data[end/2] ^= 0xff
	data[end/2+3] ^= 0xff
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	kv, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if err == nil {
		kv.Close()
		t.Fatal("started on a corrupt log")
	}
	t.Log(err)
}
