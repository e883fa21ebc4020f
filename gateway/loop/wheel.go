package loop

import (
	"math/bits"
	"time"
)

const (
	wheelSlots = 512
	wheelTick  = 50 * time.Millisecond
)

// wheel finds connections whose deadline has passed. A deadline that moves to a later time costs nothing: the connection
// stays where it is and is put off when its slot comes up. Deadlines beyond the horizon are put off likewise.
type wheel struct {
	slots [wheelSlots]*conn
	used  [wheelSlots / 64]uint64 // a bit per slot that is not empty
	tick  int64                   // all slots up to it were handled
}

// set makes c due at the time at, in time since the Set's start.
func (w *wheel) set(c *conn, at time.Duration) {
	c.deadline = at
	tick := min(max(int64(at/wheelTick)+1, w.tick+1), w.tick+wheelSlots-1)
	if c.tick != 0 {
		if c.tick <= tick {
			return
		}
		w.remove(c)
	}
	slot := tick % wheelSlots
	c.tick, c.next, c.prev = tick, w.slots[slot], nil
	if c.next != nil {
		c.next.prev = c
	}
	w.slots[slot] = c
	w.used[slot/64] |= 1 << (slot % 64)
}

func (w *wheel) remove(c *conn) {
	if c.tick == 0 {
		return
	}
	slot := c.tick % wheelSlots
	switch {
	case c.prev != nil:
		c.prev.next = c.next
	default:
		if w.slots[slot] = c.next; c.next == nil {
			w.used[slot/64] &^= 1 << (slot % 64)
		}
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.tick, c.next, c.prev = 0, nil, nil
}

// due calls f with every connection whose deadline is not after now, which f removes or gives a new one.
func (w *wheel) due(now time.Duration, f func(*conn)) {
	for last := int64(now / wheelTick); w.tick < last; {
		w.tick++
		for c := w.slots[w.tick%wheelSlots]; c != nil; c = w.slots[w.tick%wheelSlots] {
			at := c.deadline
			w.remove(c)
			if at > now {
				w.set(c, at)
				continue
			}
			f(c)
		}
	}
}

// wait returns how long it is until the next slot that is not empty; -1 when all are.
func (w *wheel) wait(now time.Duration) time.Duration {
	for ahead := int64(1); ahead < wheelSlots; {
		slot := (w.tick + ahead) % wheelSlots
		word := w.used[slot/64] >> (slot % 64)
		if word == 0 {
			ahead += 64 - slot%64
			continue
		}
		ahead += int64(bits.TrailingZeros64(word))
		return max(time.Duration(w.tick+ahead)*wheelTick-now, 0)
	}
	return -1
}
