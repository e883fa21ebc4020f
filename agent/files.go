package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/network"
)

// writeFiles puts the container's hosts, resolv.conf and hostname, and the secrets and configs it mounts, under the
// run directory (memory on every sane machine; readable by root alone) and adds their mounts.
func (t *task) writeFiles(context.Context) error {
	dir := t.agent.filesDir(t.replica.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	files, err := t.networkFiles()
	if err != nil {
		return err
	}
	for _, f := range files {
		if t.mountsAt(f.target) {
			continue
		}
		if err := t.mountFile(dir, f); err != nil {
			return err
		}
	}
	for _, m := range t.spec.Files {
		data, err := t.agent.file(t.replica.App, m)
		if err != nil {
			return err
		}
		f := file{target: m.Target, data: data, uid: m.UID, gid: m.GID, mode: os.FileMode(m.Mode)}
		if err := t.mountFile(dir, f); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// file is one file that is bind-mounted read-only into a container.
type file struct {
	target   string
	data     []byte
	uid, gid int
	mode     os.FileMode
	writable bool
}

// networkFiles are what the container's resolver reads. On the host's network it reads the host's.
func (t *task) networkFiles() ([]file, error) {
	name, err := network.HostnameFile(t.hostname())
	if err != nil {
		return nil, err
	}
	files := []file{{target: "/etc/hostname", data: name, mode: 0o644, writable: true}}
	if t.spec.NetworkMode == "host" {
		for _, path := range []string{"/etc/hosts", "/etc/resolv.conf"} {
			if data, err := os.ReadFile(path); err == nil {
				files = append(files, file{target: path, data: data, mode: 0o644, writable: true})
			}
		}
		return files, nil
	}
	var addrs []netip.Addr
	for _, a := range byPriority(t.spec.Networks) {
		if addr := t.replica.Addresses[a.Network]; addr.IsValid() {
			addrs = append(addrs, addr)
		}
	}
	hosts, err := network.HostsFile(t.hostname(), t.spec.Domainname, addrs, t.spec.ExtraHosts)
	if err != nil {
		return nil, err
	}
	resolv, err := network.ResolvConfFile(t.spec.DNS, t.agent.searchList())
	if err != nil {
		return nil, err
	}
	return append(files,
		file{target: "/etc/hosts", data: hosts, mode: 0o644, writable: true},
		file{target: "/etc/resolv.conf", data: resolv, mode: 0o644, writable: true},
	), nil
}

// searchList is the node's own.
func (a *Agent) searchList() []string {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	return network.SearchOf(text)
}

func (t *task) mountFile(dir string, f file) error {
	name := strings.ReplaceAll(strings.Trim(f.target, "/"), "/", "_")
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, f.data, 0o600); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if err := os.Chown(path, f.uid, f.gid); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if err := os.Chmod(path, f.mode); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	options := []string{"bind", "rprivate", "idmap", "nosuid", "nodev", "noexec"}
	if !f.writable {
		options = append(options, "ro")
	}
	t.oci.Mounts = append(t.oci.Mounts, specs.Mount{Destination: f.target, Type: "bind", Source: path, Options: options})
	return nil
}

// file returns the content that a release names.
func (a *Agent) file(app string, m holdfast.FileMount) ([]byte, error) {
	key := strings.Join([]string{app, m.Name, m.Digest}, "/")
	f, ok := a.store.Snapshot().Files.Get(key)
	if !ok {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "content of %s %s is not in the store", kindOfFile(m.Secret), m.Name)
	}
	return slices.Clone(f.Data), nil
}

func kindOfFile(secret bool) string {
	if secret {
		return "secret"
	}
	return "config"
}
