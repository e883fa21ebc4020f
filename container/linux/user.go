//go:build linux

package linux

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// user is whom a process runs as, by ids in the container.
type user struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// lookupUser finds who names, name|uid[:name|gid], in the container's own files, with the groups it is a member of (if
// no group is named) and those in extra.
func lookupUser(root rooted, who string, extra []string) (user, error) {
	name, groupName, hasGroup := strings.Cut(who, ":")
	u, err := findUser(root, name)
	if err != nil {
		return user{}, err
	}
	if hasGroup {
		if u.gid, err = findGroup(root, groupName); err != nil {
			return user{}, err
		}
		u.groups = nil
	}
	for _, g := range extra {
		gid, err := findGroup(root, g)
		if err != nil {
			return user{}, err
		}
		u.groups = append(u.groups, gid)
	}
	slices.Sort(u.groups)
	u.groups = slices.Compact(u.groups)
	return u, nil
}

func findUser(root rooted, name string) (user, error) {
	uid, numeric := parseID(name)
	u, found := user{uid: uid, home: "/"}, false
	login := ""
	err := eachEntry(root, "/etc/passwd", 7, func(f []string) bool {
		id, ok := parseID(f[2])
		if gid, gok := parseID(f[3]); ok && gok && (f[0] == name || numeric && id == uid) {
			u.uid, u.gid, u.home, login, found = id, gid, f[5], f[0], true
		}
		return !found
	})
	if err != nil {
		return user{}, err
	}
	if !found && !numeric {
		return user{}, holdfast.Errorf(holdfast.ErrInvalid, "user %q is not in the container's /etc/passwd", name)
	}
	if login != "" {
		u.groups, err = memberships(root, login)
	}
	return u, err
}

func memberships(root rooted, login string) (groups []uint32, err error) {
	err = eachEntry(root, "/etc/group", 4, func(f []string) bool {
		if gid, ok := parseID(f[2]); ok && slices.Contains(strings.Split(f[3], ","), login) {
			groups = append(groups, gid)
		}
		return true
	})
	return groups, err
}

func findGroup(root rooted, name string) (uint32, error) {
	if gid, numeric := parseID(name); numeric {
		return gid, nil
	}
	var gid uint32
	found := false
	err := eachEntry(root, "/etc/group", 4, func(f []string) bool {
		id, ok := parseID(f[2])
		if ok && f[0] == name {
			gid, found = id, true
		}
		return !found
	})
	if err == nil && !found {
		err = holdfast.Errorf(holdfast.ErrInvalid, "group %q is not in the container's /etc/group", name)
	}
	return gid, err
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}

// eachEntry calls take with the fields of each whole line of a colon-separated file, until it returns false. A file
// that is not there is empty. The file is the image's: it is only read when it is a plain file, and not for ever.
func eachEntry(root rooted, file string, fields int, take func([]string) bool) error {
	fd, err := root.open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s of the container is not a file", file)
	}
	const most = 8 << 20
	lines := bufio.NewScanner(io.LimitReader(f, most))
	for lines.Scan() {
		entry := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(entry) >= fields && !take(entry) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}
