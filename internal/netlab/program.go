package netlab

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Program runs f as a test is run, in a program that is none: logs go to standard error, and a failure ends the program
// with exit code 1 after the cleanups. It does not return.
func Program(name string, f func(TB)) {
	if os.Getenv(initEnv) != "" {
		os.Exit(initMain())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{name: name, ctx: ctx}
	p.run(f)
	stop()
	cleanBinary()
	if p.failed {
		os.Exit(1)
	}
	os.Exit(0)
}

type program struct {
	name     string
	ctx      context.Context // of the one call of run
	failed   bool
	cleanups []func()
}

// failNow is what Fatal panics with.
type failNow struct{}

func (p *program) run(f func(TB)) {
	defer func() {
		if r := recover(); r != nil && r != any(failNow{}) {
			panic(r)
		}
	}()
	defer p.clean()
	f(p)
}

func (p *program) clean() {
	for len(p.cleanups) > 0 {
		last := p.cleanups[len(p.cleanups)-1]
		p.cleanups = p.cleanups[:len(p.cleanups)-1]
		last()
	}
}

func (p *program) Helper()                  {}
func (p *program) Failed() bool             { return p.failed }
func (p *program) Cleanup(f func())         { p.cleanups = append(p.cleanups, f) }
func (p *program) Context() context.Context { return p.ctx }
func (p *program) Log(args ...any)          { fmt.Fprintln(os.Stderr, append([]any{p.name + ":"}, args...)...) }
func (p *program) Logf(format string, args ...any) {
	p.Log(fmt.Sprintf(format, args...))
}

func (p *program) Error(args ...any) {
	p.failed = true
	p.Log(args...)
}

func (p *program) Errorf(format string, args ...any) { p.Error(fmt.Sprintf(format, args...)) }

func (p *program) Fatal(args ...any) {
	p.Error(args...)
	panic(failNow{})
}

func (p *program) Fatalf(format string, args ...any) { p.Fatal(fmt.Sprintf(format, args...)) }

func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", p.name)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
