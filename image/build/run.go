package build

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// tailLines is how much of a builder's output an error quotes.
const tailLines = 12

// run runs cmd and hands each line of its messages to b.say. When it fails the error quotes the last of them. Ending
// ctx ends cmd and all that it started in its process group.
func (b *builder) run(ctx context.Context, cmd *exec.Cmd) (output []string, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	pr, pw := io.Pipe()
	cmd.Stderr = pw
	if cmd.Stdout == nil {
		cmd.Stdout = pw
	}
	var reading sync.WaitGroup
	reading.Go(func() { output = b.follow(pr) })
	if err = cmd.Start(); err == nil {
		stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }) // it may have ended just now
		err = cmd.Wait()
		stop()
	}
	pw.Close()
	reading.Wait()
	if ctx.Err() != nil {
		return output, context.Cause(ctx)
	}
	return output, runError(cmd, err, output)
}

func runError(cmd *exec.Cmd, err error, output []string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	tail := output[max(0, len(output)-tailLines):]
	return holdfast.Errorf(holdfast.ErrInvalid, "%s: %w:\n  %s", cmd.Args[0], err, strings.Join(tail, "\n  "))
}

// follow reads lines up to the end of r.
func (b *builder) follow(r io.Reader) []string {
	const keep = 400
	var lines []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := strings.TrimRight(sc.Text(), " \r")
		if line == "" {
			continue
		}
		if lines = append(lines, line); len(lines) > keep {
			lines = lines[len(lines)-keep/2:]
		}
		b.say(line)
	}
	_, _ = io.Copy(io.Discard, r) // a line too long to scan must not block the program
	return lines
}
