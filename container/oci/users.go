//go:build linux

package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// lookup finds the ids of user (name|uid[:name|gid]) and groups in the passwd and group files below root, which an
// attacker may have laid out. A uid that has no entry has group 0.
func lookup(root, user string, groups []string) (specs.User, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return specs.User{}, fmt.Errorf("open root file system: %w", err)
	}
	defer r.Close()
	people, err := readColons(r, "etc/passwd", 4)
	if err != nil {
		return specs.User{}, err
	}
	teams, err := readColons(r, "etc/group", 3)
	if err != nil {
		return specs.User{}, err
	}
	name, group, given := strings.Cut(user, ":")
	id, entry, err := findID(people, name, "user")
	if err != nil {
		return specs.User{}, err
	}
	out := specs.User{UID: id}
	if entry != nil {
		if out.GID, err = parseID(entry[3]); err != nil {
			return specs.User{}, holdfast.Errorf(holdfast.ErrInvalid, "group of user %q: %w", name, err)
		}
		name = entry[0]
	}
	if given {
		if out.GID, _, err = findID(teams, group, "group"); err != nil {
			return specs.User{}, err
		}
	} else {
		for _, t := range teams {
			gid, err := parseID(t[2])
			if err == nil && len(t) > 3 && slices.Contains(strings.Split(t[3], ","), name) {
				out.AdditionalGids = append(out.AdditionalGids, gid)
			}
		}
	}
	for _, g := range groups {
		gid, _, err := findID(teams, g, "group")
		if err != nil {
			return specs.User{}, err
		}
		if !slices.Contains(out.AdditionalGids, gid) {
			out.AdditionalGids = append(out.AdditionalGids, gid)
		}
	}
	return out, nil
}

// findID finds a name or number in the third field; entry is nil for a number that has none.
func findID(entries [][]string, name, what string) (id uint32, entry []string, err error) {
	number, nerr := parseID(name)
	for _, e := range entries {
		id, err := parseID(e[2])
		if err == nil && (e[0] == name || nerr == nil && id == number) {
			return id, e, nil
		}
	}
	if nerr != nil {
		return 0, nil, holdfast.Errorf(holdfast.ErrInvalid, "the image has no %s %q", what, name)
	}
	return number, nil, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err
}

const maxUsersFile = 4 << 20

func readColons(root *os.Root, name string, fields int) ([][]string, error) {
	// Not waiting for a writer: it may be a named pipe.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "open /%s of the image: %w", name, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "/%s of the image is not a regular file", name)
	}
	var entries [][]string
	lines := bufio.NewScanner(io.LimitReader(f, maxUsersFile))
	for lines.Scan() {
		if e := strings.Split(lines.Text(), ":"); len(e) >= fields {
			entries = append(entries, e)
		}
	}
	return entries, nil
}
