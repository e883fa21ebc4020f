//go:build linux

package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

const (
	recordFile    = "state.json" // in a sandbox's directory
	recordVersion = 1
)

// record is what is kept of a container, in the directory of its sandbox, for a runtime that adopts it.
type record struct {
	Version   int                 `json:"version"`
	Boot      string              `json:"boot"`
	StartTime uint64              `json:"startTime"` // of its first process, in ticks since boot
	Status    container.Status    `json:"status"`
	Log       container.Log       `json:"log"`
	Stdin     bool                `json:"stdin,omitempty"`
	Process   *specs.Process      `json:"process"`           // what an Exec inherits
	Seccomp   *specs.LinuxSeccomp `json:"seccomp,omitempty"` // likewise
	User      string              `json:"user,omitempty"`    // likewise, looked up again
	Groups    []string            `json:"groups,omitempty"`
	Slots     slots               `json:"slots,omitzero"` // what the vault keeps of it
}

// write replaces the file at path by the record. durable waits for the disk: what is running is lost with the power
// anyway, how it ended must not be.
func (rec *record) write(path string, durable bool) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	_, err = f.Write(data)
	if durable && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if durable && err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func (rec *record) remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsync(fd)
}

func readRecord(path string) (*record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rec := &record{}
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	if rec.Version != recordVersion {
		return nil, fmt.Errorf("record of version %d", rec.Version)
	}
	return rec, nil
}
