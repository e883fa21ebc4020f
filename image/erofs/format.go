package erofs

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

const (
	superOffset = 1024
	magic       = 0xE0F5E1E2
	compatCRC   = 1

	direntSize = 12
)

var le = binary.LittleEndian

// superblock returns block 0.
func (l *layout) superblock() []byte {
	block := make([]byte, blockSize)
	b := block[superOffset:]
	le.PutUint32(b[0:], magic)
	le.PutUint32(b[8:], compatCRC)
	b[12] = 12 // log2 of the block size
	le.PutUint16(b[14:], uint16(l.inodes[0].nid))
	le.PutUint64(b[16:], uint64(len(l.inodes)))
	le.PutUint32(b[36:], uint32(l.metaStart+blocks(l.metaSize)))
	le.PutUint32(b[40:], uint32(l.metaStart))
	le.PutUint32(b[4:], ^crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return block
}

// writePlain writes the directories and links that have blocks of their own.
func (l *layout) writePlain(w *bufio.Writer) error {
	for _, in := range l.inodes {
		if !in.ownBlocks() {
			continue
		}
		if err := writePadded(w, l.content(in), blockSize); err != nil {
			return err
		}
	}
	return nil
}

// content returns what the layout itself stores of in: a directory's entries, a link's target, a small file.
func (l *layout) content(in *inode) []byte {
	if in.IsDir() {
		return l.dirents(in)
	}
	return in.tail
}

func writePadded(w *bufio.Writer, data []byte, unit int) error {
	if _, err := w.Write(data); err != nil {
		return err
	}
	if rest := len(data) % unit; rest != 0 {
		_, err := w.Write(zeros[:unit-rest])
		return err
	}
	return nil
}

func (l *layout) writeInodes(w *bufio.Writer) error {
	at := int64(0)
	for i, in := range l.inodes {
		for at < in.nid*slot { // at most a block
			n, err := w.Write(zeros[:min(blockSize, in.nid*slot-at)])
			if err != nil {
				return err
			}
			at += int64(n)
		}
		record := append(in.encode(uint32(i+1)), in.xattrs...)
		if in.format == flatInline {
			record = append(record, l.content(in)...)
		}
		if err := writePadded(w, record, slot); err != nil {
			return err
		}
		at += (int64(len(record)) + slot - 1) / slot * slot
	}
	if rest := at % blockSize; rest != 0 {
		_, err := w.Write(zeros[rest:])
		return err
	}
	return nil
}

// encode returns the extended inode.
func (in *inode) encode(number uint32) []byte {
	b := make([]byte, inodeSize, inodeSize+len(in.xattrs)+inlineMax)
	le.PutUint16(b[0:], 1|in.format<<1)
	if len(in.xattrs) > 0 {
		le.PutUint16(b[2:], uint16((len(in.xattrs)-xattrHeader)/4+1))
	}
	le.PutUint16(b[4:], uint16(in.Mode))
	le.PutUint64(b[8:], uint64(in.size))
	switch in.Type() {
	case unix.S_IFCHR, unix.S_IFBLK:
		le.PutUint32(b[16:], encodeDevice(in.Rdev))
	default:
		le.PutUint32(b[16:], uint32(in.block))
	}
	le.PutUint32(b[20:], number)
	le.PutUint32(b[24:], in.UID)
	le.PutUint32(b[28:], in.GID)
	le.PutUint64(b[32:], uint64(in.Mtime))
	le.PutUint32(b[40:], in.MtimeNs)
	le.PutUint32(b[44:], uint32(in.links))
	return b
}

// encodeDevice is the kernel's new_encode_dev.
func encodeDevice(rdev uint64) uint32 {
	major, minor := unix.Major(rdev), unix.Minor(rdev)
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

func (in *inode) direntNames() []string {
	names := append(in.Names(), ".", "..")
	sort.Strings(names)
	return names
}

// direntBlock returns how many of names fit into one block of a directory, and the bytes that they take.
func direntBlock(names []string) (count, size int) {
	for _, name := range names {
		need := size + direntSize + len(name)
		if need > blockSize {
			break
		}
		count, size = count+1, need
	}
	return count, size
}

func direntsSize(names []string) int64 {
	total := int64(0)
	for len(names) > 0 {
		count, size := direntBlock(names)
		names = names[count:]
		if len(names) > 0 {
			size = blockSize
		}
		total += int64(size)
	}
	return total
}

// dirents returns the entries of a directory: blocks of sorted names, each with its table of entries first.
func (l *layout) dirents(in *inode) []byte {
	names := in.direntNames()
	out := make([]byte, 0, in.size)
	for len(names) > 0 {
		count, size := direntBlock(names)
		block := make([]byte, count*direntSize, blockSize)
		for i, name := range names[:count] {
			child := l.lookup(in, name)
			le.PutUint64(block[i*direntSize:], uint64(child.nid))
			le.PutUint16(block[i*direntSize+8:], uint16(len(block)))
			block[i*direntSize+10] = fileType(child.Type())
			block = append(block, name...)
		}
		names = names[count:]
		if len(names) > 0 {
			block = append(block, zeros[size:]...)
		}
		out = append(out, block...)
	}
	return out
}

func (l *layout) lookup(dir *inode, name string) *inode {
	switch name {
	case ".":
		return dir
	case "..":
		return dir.parent
	}
	return l.byNode[dir.Child(name)]
}

func fileType(kind uint32) byte {
	switch kind {
	case unix.S_IFREG:
		return 1
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	case unix.S_IFSOCK:
		return 6
	}
	return 7
}

const xattrHeader = 12

// xattrPrefixes are the namespaces that EROFS stores as a number.
var xattrPrefixes = []struct {
	prefix string
	index  byte
}{
	{"user.", 1}, {"trusted.", 4}, {"security.", 6},
	{"system.posix_acl_access", 2}, {"system.posix_acl_default", 3},
}

// encodeXattrs returns the attributes as they follow an inode, sorted by name. Namespaces that the format has no room
// for are left out.
func encodeXattrs(xattrs map[string]string) ([]byte, error) {
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		value := xattrs[name]
		for _, p := range xattrPrefixes {
			suffix, ok := strings.CutPrefix(name, p.prefix)
			if !ok || (p.index == 2 || p.index == 3) != (suffix == "") {
				continue
			}
			if out == nil {
				out = make([]byte, xattrHeader)
			}
			out = append(out, byte(len(suffix)), p.index)
			out = le.AppendUint16(out, uint16(len(value)))
			out = append(out, suffix...)
			out = append(out, value...)
			out = append(out, zeros[:-len(out)&3]...)
		}
	}
	if (len(out)-xattrHeader)/4+1 > math.MaxUint16 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "extended attributes of %d bytes are too large", len(out))
	}
	return out, nil
}
