//go:build linux

package linux

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/holdfast/holdfast"
)

// idRanges hands out ranges of user and group ids on the node, one per sandbox with a user namespace.
type idRanges struct {
	base, size, count uint32

	mu   sync.Mutex
	used map[uint32]int // range's first id -> how many sandboxes share it
	next uint32         // where to look first, so that a range is not used again at once
}

func newIDRanges(base, size, count uint32) *idRanges {
	return &idRanges{base: base, size: size, count: count, used: map[uint32]int{}}
}

// take returns the first id of a free range.
func (r *idRanges) take() (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range r.count {
		first := r.base + r.next*r.size
		r.next = (r.next + 1) % r.count
		if r.used[first] == 0 {
			r.used[first] = 1
			return first, nil
		}
	}
	return 0, holdfast.Errorf(holdfast.ErrUnavailable, "all %d user id ranges are in use", r.count)
}

// share counts another user of a range.
func (r *idRanges) share(first uint32) {
	if first == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[first]++
}

// drop counts one user less. 0 is no range.
func (r *idRanges) drop(first uint32) {
	if first == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used[first]--; r.used[first] <= 0 {
		delete(r.used, first)
	}
}

// mapIDs writes the id maps of a child that was cloned into a new user namespace.
func (r *idRanges) mapIDs(pid int, first uint32) error {
	line := fmt.Sprintf("0 %d %d\n", first, r.size)
	dir := "/proc/" + strconv.Itoa(pid)
	if err := writeFile(dir+"/uid_map", line); err != nil {
		return fmt.Errorf("map user ids: %w", err)
	}
	if err := writeFile(dir+"/gid_map", line); err != nil {
		return fmt.Errorf("map group ids: %w", err)
	}
	return nil
}
