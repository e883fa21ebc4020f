//go:build linux

package supervisor

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container/linux"
)

// Config says how a supervisor runs. The zero value of a field takes the default named with it.
type Config struct {
	// Socket is where it answers: supervisor.sock beside Runtime.RunDir.
	Socket string
	// LogFile is where a supervisor that EnsureRunning starts logs to: supervisor.log in Runtime.Dir.
	LogFile string
	// OCIDir holds the state of runc's and crun's containers: oci beside Runtime.Dir.
	OCIDir string
	// Runtime is its containers'.
	Runtime linux.Config
}

// Validate fills in the defaults and reports what is wrong.
func (c *Config) Validate() error {
	if err := c.Runtime.Validate(); err != nil {
		return err
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(filepath.Dir(c.Runtime.RunDir), "supervisor.sock")
	}
	if c.LogFile == "" {
		c.LogFile = filepath.Join(c.Runtime.Dir, "supervisor.log")
	}
	if c.OCIDir == "" {
		c.OCIDir = filepath.Join(filepath.Dir(c.Runtime.Dir), "oci")
	}
	const longest = 107 // of sockaddr_un, less its final zero
	if len(c.Socket) > longest || !filepath.IsAbs(c.Socket) {
		return holdfast.Errorf(holdfast.ErrInvalid, "supervisor: socket %q: want an absolute path of at most %d bytes", c.Socket, longest)
	}
	return nil
}

// Args returns the arguments from which Run makes the same configuration.
func (c Config) Args() []string {
	r := c.Runtime
	args := []string{"--socket", c.Socket, "--oci-dir", c.OCIDir, "--dir", r.Dir, "--run", r.RunDir, "--cgroup-parent", r.CgroupParent}
	for _, n := range []struct {
		flag  string
		value uint32
	}{{"--id-base", r.IDBase}, {"--id-size", r.IDSize}, {"--id-ranges", r.IDRanges}} {
		args = append(args, n.flag, strconv.FormatUint(uint64(n.value), 10))
	}
	if r.HostUserNS {
		args = append(args, "--host-userns")
	}
	if r.BootID != "" {
		args = append(args, "--boot", r.BootID)
	}
	return args
}

// ParseArgs reads what Args wrote.
func ParseArgs(args []string) (c Config, err error) {
	f := flag.NewFlagSet("supervisor", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error says it
	f.StringVar(&c.Socket, "socket", "", "unix socket to answer on")
	f.StringVar(&c.OCIDir, "oci-dir", "", "directory of runc's and crun's state")
	f.StringVar(&c.Runtime.Dir, "dir", "", "directory of containers' state")
	f.StringVar(&c.Runtime.RunDir, "run", "", "directory of pipes and mount points")
	f.StringVar(&c.Runtime.CgroupParent, "cgroup-parent", "", "cgroup of all containers")
	f.StringVar(&c.Runtime.BootID, "boot", "", "another name for this boot of the machine")
	f.BoolVar(&c.Runtime.HostUserNS, "host-userns", false, "no user namespaces")
	id := func(to *uint32, name, usage string) {
		f.Func(name, usage, func(s string) error {
			n, err := strconv.ParseUint(s, 10, 32)
			*to = uint32(n)
			return err
		})
	}
	id(&c.Runtime.IDBase, "id-base", "first id that containers are mapped to")
	id(&c.Runtime.IDSize, "id-size", "ids of each container")
	id(&c.Runtime.IDRanges, "id-ranges", "how many containers can have ids")
	if err := f.Parse(args); err != nil {
		return c, holdfast.Errorf(holdfast.ErrInvalid, "supervisor: %w", err)
	}
	if f.NArg() > 0 {
		return c, holdfast.Errorf(holdfast.ErrInvalid, "supervisor: argument %q", f.Arg(0))
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("supervisor: %w", err)
	}
	return c, nil
}
