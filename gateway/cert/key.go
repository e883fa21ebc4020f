package cert

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast/holdfast"
)

// sealer encrypts with AES-256-GCM. A value can be opened under its own name only.
type sealer struct {
	id   string // names the key and tells nothing of it
	aead cipher.AEAD
}

// openKey reads the key at path, or makes one.
func openKey(path string) (*sealer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "key %s may be read by others than its owner: chmod 600 it", path)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "key %s is not 64 hex digits", path)
	}
	return newSealer(key)
}

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("holdfast: name of a sealing key\n"), key...))
	return &sealer{id: hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// makeKey writes a new key to path, whole or not at all, unless another process just did.
func makeKey(path string) error {
	key := make([]byte, 32)
	rand.Read(key)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.WriteString(hex.EncodeToString(key) + "\n"); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (s *sealer) seal(name string, value []byte) []byte {
	return s.aead.Seal(nil, nil, value, []byte(name))
}

func (s *sealer) open(name string, data []byte) ([]byte, error) {
	value, err := s.aead.Open(nil, nil, data, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("open sealed %s: %w", name, err)
	}
	return value, nil
}
