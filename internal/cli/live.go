package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/holdfast/holdfast/api"
)

// live shows a board while a command waits: redrawn in place on a terminal, else one line per change.
type live struct {
	mu    sync.Mutex
	w     io.Writer
	now   func() time.Time
	st    style
	tty   bool
	board board

	drawn int               // lines on the terminal
	frame int               // of the spinners
	told  map[string]string // facts of the plain log
	stop  chan struct{}
	done  chan struct{}
}

// frameTime is the time between two frames on a terminal.
const frameTime = 100 * time.Millisecond

// show starts showing a board on the standard error stream, so that output can be piped.
func (a *app) show(title string) *live {
	l := &live{
		w: a.Stderr, now: a.Now, st: a.errStyle(), tty: isTerminal(a.Stderr) && a.Getenv("TERM") != "dumb" && !a.json,
		told: map[string]string{}, stop: make(chan struct{}), done: make(chan struct{}),
	}
	l.board = board{title: title, started: a.Now()}
	go l.animate()
	return l
}

func (l *live) animate() {
	defer close(l.done)
	if !l.tty {
		<-l.stop
		return
	}
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			l.mu.Lock()
			l.frame++
			l.drawLocked()
			l.mu.Unlock()
		}
	}
}

// update changes the board and shows it.
func (l *live) update(change func(b *board)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.board)
	if l.tty {
		l.drawLocked()
		return
	}
	l.tellLocked()
}

// known takes what v tells for told: the plain log is about what changes.
func (l *live) known(v api.AppView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := board{view: &v}
	for _, f := range old.facts() {
		l.told[f.key] = f.text
	}
}

// start adds a job and returns how to change it.
func (l *live) start(name string) func(change func(*job)) {
	j := &job{name: name}
	l.update(func(b *board) {
		j.started = l.now()
		b.jobs = append(b.jobs, j)
	})
	return func(change func(*job)) { l.update(func(*board) { change(j) }) }
}

// finish ends a job with err or detail.
func (l *live) finish(change func(func(*job)), detail string, err error) {
	change(func(j *job) { j.finished, j.detail, j.err = l.now(), detail, err })
}

func (l *live) drawLocked() {
	width, height := 80, 24
	if f, ok := l.w.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	lines := l.board.lines(l.st, l.now(), l.frame, width, height)
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	b.WriteString("\r")
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	l.drawn = len(lines)
	_, _ = io.WriteString(l.w, b.String())
}

// tellLocked prints each fact whose text changed, with the time since the start.
func (l *live) tellLocked() {
	for _, f := range l.board.facts() {
		if l.told[f.key] == f.text {
			continue
		}
		l.told[f.key] = f.text
		fmt.Fprintf(l.w, "%7s  %s\n", age(l.now().Sub(l.board.started)), f.text)
	}
}

// close stops showing; the last picture stays.
func (l *live) close() {
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tty {
		l.drawLocked()
	}
}
