package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// lock makes this process the only agent of the data directory until it ends.
func lock(dataDir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dataDir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, holdfast.Errorf(holdfast.ErrConflict, "another agent runs on %s; stop it first, or give --data another directory", dataDir)
	}
	return f, nil
}

// nodeID returns the identity of this node, made on first use and kept for ever.
func nodeID(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "node-id")
	text, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(text))) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read node id: %w", err)
	}
	id := strings.ToLower(rand.Text()[:12])
	if err := writeDurably(path, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("write node id: %w", err)
	}
	return id, nil
}

// writeDurably replaces path so that after a crash it holds the old content or the new.
func writeDurably(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// thisNode describes the machine.
func thisNode(cfg Config, id string) (holdfast.Node, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return holdfast.Node{}, fmt.Errorf("read memory size: %w", err)
	}
	return holdfast.Node{
		ID: id, Name: cfg.NodeName, Labels: cfg.Labels, Version: Version, Gateway: true,
		CPUs: float64(runtime.NumCPU()), MemBytes: int64(info.Totalram) * int64(info.Unit),
	}, nil
}
