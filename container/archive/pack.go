package archive

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// Pack writes name, a file or a directory with all in it, as a tar to w. Names in it start with name's base; owners
// are the container's. Sockets are left out.
func (r *Root) Pack(name string, w io.Writer) error {
	fd, err := r.openAt(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	base := path.Base(path.Clean("/" + name))
	if base == "/" {
		base = "."
	}
	p := packer{root: r, tar: tar.NewWriter(w), seen: map[[2]uint64]string{}}
	if err := p.add(fd, base); err != nil {
		return err
	}
	return p.tar.Close()
}

type packer struct {
	root *Root
	tar  *tar.Writer
	seen map[[2]uint64]string // first name of each file with several links
}

// add writes what the O_PATH descriptor fd stands for, as name.
func (p *packer) add(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	header := p.header(&st, name)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.addFile(fd, &st, header)
	case unix.S_IFDIR:
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		if err := p.tar.WriteHeader(header); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		return p.addDir(fd, name)
	case unix.S_IFLNK:
		return p.addLink(fd, header)
	case unix.S_IFIFO:
		header.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		header.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			header.Typeflag = tar.TypeBlock
		}
		header.Devmajor, header.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil
	}
	return p.tar.WriteHeader(header)
}

func (p *packer) header(st *unix.Stat_t, name string) *tar.Header {
	return &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), ModTime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec),
		Uid: p.own(st.Uid), Gid: p.own(st.Gid), Format: tar.FormatPAX,
	}
}

// own translates an id of the node to the container's.
func (p *packer) own(id uint32) int {
	if id >= p.root.ids {
		return int(id - p.root.ids)
	}
	return 65534
}

func (p *packer) addFile(fd int, st *unix.Stat_t, header *tar.Header) error {
	if st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := p.seen[key]; ok {
			header.Typeflag, header.Linkname = tar.TypeLink, first
			return p.tar.WriteHeader(header)
		}
		p.seen[key] = header.Name
	}
	file, err := reopen(fd, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open %s: %w", header.Name, err)
	}
	defer file.Close()
	header.Typeflag, header.Size = tar.TypeReg, st.Size
	if err := p.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", header.Name, err)
	}
	n, err := io.Copy(p.tar, io.LimitReader(file, st.Size))
	if err != nil {
		return fmt.Errorf("read %s: %w", header.Name, err)
	}
	if n < st.Size {
		return holdfast.Errorf(holdfast.ErrConflict, "%s shrank while it was read", header.Name)
	}
	return nil
}

func (p *packer) addLink(fd int, header *tar.Header) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return fmt.Errorf("read link %s: %w", header.Name, err)
	}
	header.Typeflag, header.Linkname = tar.TypeSymlink, string(buf[:n])
	return p.tar.WriteHeader(header)
}

func (p *packer) addDir(fd int, name string) error {
	dir, err := reopen(fd, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	slices.Sort(entries)
	for _, entry := range entries {
		child, err := unix.Openat(fd, entry, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			continue // gone since
		}
		if err != nil {
			return fmt.Errorf("open %s/%s: %w", name, entry, err)
		}
		err = p.add(child, name+"/"+entry)
		unix.Close(child)
		if err != nil {
			return err
		}
	}
	return nil
}

// reopen opens what an O_PATH descriptor stands for; no name is looked up again.
func reopen(fd, flags int) (*os.File, error) {
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	opened, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(opened), path), nil
}
