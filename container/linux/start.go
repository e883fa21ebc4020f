//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,200}$`)

// starting is a container on its way from a sandbox to its first instruction.
type starting struct {
	r      *Runtime
	box    *box
	spec   container.Spec
	launch *launch
	limits *limits
	dir    string // in Config.Dir
	root   int    // its overlay; -1 before
	image  *imageMount
	mounts []*readyMount
	null   int // /dev/null of the node; -1 before
	io     *streams
	ctr    *ctr
	slots  slots
}

// Start runs spec in a parked sandbox. It implements container.Runtime.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) (container.Status, error) {
	if err := ctx.Err(); err != nil {
		return container.Status{}, err
	}
	b, err := r.claim(spec)
	if err != nil {
		return container.Status{}, fmt.Errorf("start container %s: %w", spec.ID, err)
	}
	s := &starting{r: r, box: b, spec: spec, root: -1, null: -1, dir: r.boxDir(b.sandbox.ID)}
	status, err := s.start()
	if err != nil {
		s.abort()
		return container.Status{}, fmt.Errorf("start container %s: %w", spec.ID, err)
	}
	return status, nil
}

// claim takes the sandbox out of the pool and the container's ID into use.
func (r *Runtime) claim(spec container.Spec) (*box, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.boxes[spec.Sandbox]
	if b == nil {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "no sandbox %q", spec.Sandbox)
	}
	delete(r.boxes, spec.Sandbox)
	err := error(nil)
	switch {
	case !validID.MatchString(spec.ID):
		err = holdfast.Errorf(holdfast.ErrInvalid, "%q is no container ID", spec.ID)
	case r.containers[spec.ID] != nil || r.claimed[spec.ID]:
		err = holdfast.Errorf(holdfast.ErrConflict, "there is a container of this ID")
	}
	if err != nil {
		go r.discard(b)
		return nil, err
	}
	r.claimed[spec.ID] = true
	return b, nil
}

func (s *starting) start() (container.Status, error) {
	if err := s.decide(); err != nil {
		return container.Status{}, err
	}
	s.reserveSlots()
	recorded := make(chan error, 1)
	go func() { recorded <- s.record() }() // beside the rest: the disk may be busy
	err := s.build()
	if err = errors.Join(err, <-recorded); err != nil {
		return container.Status{}, err
	}
	if err := s.keepStreams(); err != nil {
		return container.Status{}, err
	}
	return s.run()
}

// reserveSlots reserves room in the vault for what is put there later.
func (s *starting) reserveSlots() {
	v := &s.r.vault
	s.slots.Process = v.reserve()
	if s.spec.OCI.Process.Terminal {
		s.slots.Terminal = v.reserve()
	} else if s.spec.Stdin {
		s.slots.Stdin = v.reserve()
	}
}

// build makes the container around the waiting process.
func (s *starting) build() error {
	if err := s.make(); err != nil {
		return err
	}
	if err := s.r.visitors.visit(s.box.mnt, s.assemble); err != nil {
		return err
	}
	return s.limits.apply(s.box)
}

// decide reads the whole spec before anything is made.
func (s *starting) decide() (err error) {
	oci := s.spec.OCI
	if err := checkSpec(oci); err != nil {
		return err
	}
	userNS := s.box.sandbox.UIDs != 0
	if s.launch, err = s.r.newLaunch(oci.Process, oci.Linux.Seccomp, userNS); err != nil {
		return err
	}
	s.launch.init = s.spec.Init
	opt := s.box.sandbox.Opt
	if !opt.HostUTS {
		s.launch.hostname, s.launch.domainname = oci.Hostname, oci.Domainname
	}
	if s.launch.sysctls, err = parseSysctls(oci.Linux.Sysctl, opt); err != nil {
		return err
	}
	s.limits, err = parseLimits(oci)
	return err
}

// make makes all that can be made without entering the container.
func (s *starting) make() (err error) {
	userNS := -1
	if s.box.sandbox.UIDs != 0 {
		userNS, err = unix.Open(fmt.Sprintf("/proc/%d/ns/user", s.box.child.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open user namespace: %w", err)
		}
		defer unix.Close(userNS)
	}
	overlaid := make(chan error, 1)
	go func() { // beside the rest: overlayfs makes files, and the disk may be busy
		var err error
		s.root, s.image, err = s.r.makeRootfs(s.spec.Rootfs, s.dir, userNS)
		overlaid <- err
	}()
	err = s.makeParts(userNS)
	return errors.Join(<-overlaid, err)
}

// makeParts makes what does not need the root file system.
func (s *starting) makeParts(userNS int) (err error) {
	if s.mounts, err = makeMounts(s.spec.OCI.Mounts, s.box, userNS); err != nil {
		return err
	}
	if s.null, err = nullMount(); err != nil {
		return err
	}
	s.io, err = openStreams(s.r.pipeDir(s.box.sandbox.ID), s.spec, s.ptsMount(), s.r.cfg.Now)
	return err
}

// ptsMount is the mount of /dev/pts, on which a terminal is made. -1: none.
func (s *starting) ptsMount() int {
	for _, m := range s.mounts {
		if m.spec.Type == "devpts" && filepath.Clean(m.spec.Destination) == "/dev/pts" {
			return m.fd
		}
	}
	return -1
}

// assemble builds the container's tree and makes it the root of its mount namespace, in which it runs.
func (s *starting) assemble() error {
	oci := s.spec.OCI
	root := rooted{fd: s.root, owner: int(s.box.sandbox.UIDs)}
	place := filepath.Join(s.r.cfg.RunDir, newRootDir)
	if err := unix.MoveMount(s.root, "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	for _, m := range s.mounts {
		if err := m.place(root); err != nil {
			return err
		}
	}
	if err := populateDev(root, s.mounts, oci.Linux.Devices); err != nil {
		return err
	}
	if err := s.launch.lookUp(root, s.spec.User, s.spec.Groups); err != nil {
		return err
	}
	if err := s.launch.setHome(root); err != nil {
		return err
	}
	if err := s.placeConsole(root); err != nil {
		return err
	}
	if err := s.makeWorkingDir(root); err != nil {
		return err
	}
	if err := maskPaths(root, oci.Linux.MaskedPaths, s.null); err != nil {
		return err
	}
	if err := protectPaths(root, oci.Linux.ReadonlyPaths); err != nil {
		return err
	}
	if oci.Root != nil && oci.Root.Readonly {
		if err := setAttr(s.root, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return err
		}
	}
	return pivot(s.root, oci.Linux.RootfsPropagation)
}

// pivot makes root the root of the namespace and of all processes in it, and unmounts the former one.
func pivot(root int, propagation string) error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open old root: %w", err)
	}
	defer unix.Close(old)
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("change to new root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Fchdir(old); err != nil {
		return fmt.Errorf("change to old root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	if propagation == "" {
		return nil
	}
	if p, ok := propagations[propagation]; ok {
		return setAttr(root, unix.MountAttr{Propagation: p}, false)
	}
	return setAttr(root, unix.MountAttr{Propagation: propagations[propagation[1:]]}, true)
}

// validPropagation: "", or a name in propagations with or without the r of recursive.
func validPropagation(p string) bool {
	return p == "" || propagations[p] != 0 || p[0] == 'r' && propagations[p[1:]] != 0
}

// lookUp sets the user to who, with groups, which only the container's own files explain. "" leaves it.
func (l *launch) lookUp(root rooted, who string, groups []string) (err error) {
	if who == "" && len(groups) == 0 {
		return nil
	}
	if who == "" {
		who = fmt.Sprintf("%d:%d", l.user.uid, l.user.gid)
	}
	l.user, err = lookupUser(root, who, groups)
	return err
}

// setHome sets HOME, where the environment lacks it, to the user's in the container.
func (l *launch) setHome(root rooted) error {
	if slices.ContainsFunc(l.env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		return nil
	}
	home := l.user.home
	if home == "" {
		u, err := findUser(root, strconv.FormatUint(uint64(l.user.uid), 10))
		if err != nil {
			return err
		}
		home = u.home
	}
	l.env = append(slices.Clip(l.env), "HOME="+home)
	return nil
}

// makeWorkingDir makes it where the image has none, for the user who will work there.
func (s *starting) makeWorkingDir(root rooted) error {
	fd, err := root.mkdirAll(s.launch.cwd)
	if err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "make working directory %s: %w", s.launch.cwd, err)
	}
	return unix.Close(fd)
}

// run sends the last program and waits until it ended in execve.
func (s *starting) run() (container.Status, error) {
	var p program
	s.launch.perform(&p)
	answer, err := p.run(s.box.child.ctl, s.io.child()...)
	if err == nil && !answer.gone {
		err = errors.New("process answered out of turn")
	}
	if err != nil {
		return container.Status{}, execError(err)
	}
	return s.r.started(s), nil
}

// execError gives the error of a program's step a kind: what the spec names is the caller's.
func execError(err error) error {
	var call *os.SyscallError
	if !errors.As(err, &call) {
		return err
	}
	errno, _ := call.Err.(syscall.Errno)
	switch errno {
	case unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ENOEXEC, unix.E2BIG, unix.ELOOP, unix.EISDIR, unix.ENAMETOOLONG, unix.EINVAL:
		return holdfast.Errorf(holdfast.ErrInvalid, "%w", err)
	}
	return err
}

func checkSpec(oci *specs.Spec) error {
	unsupported := func(what string) error {
		return holdfast.Errorf(holdfast.ErrUnsupported, "OCI config: %s", what)
	}
	if oci == nil || oci.Linux == nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "OCI config without its Linux part")
	}
	l := oci.Linux
	switch {
	case oci.Windows != nil || oci.Solaris != nil || oci.VM != nil || oci.ZOS != nil || oci.FreeBSD != nil:
		return unsupported("a part for another system")
	case len(l.Namespaces) > 0:
		return unsupported("namespaces: the sandbox has its own")
	case !validPropagation(l.RootfsPropagation):
		return holdfast.Errorf(holdfast.ErrInvalid, "OCI config: rootfsPropagation %q", l.RootfsPropagation)
	case oci.Hooks != nil:
		return unsupported("hooks")
	case len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0:
		return unsupported("id mappings: the sandbox has its own")
	case l.CgroupsPath != "":
		return unsupported("cgroupsPath: the sandbox has its own")
	case l.MountLabel != "":
		return unsupported("mountLabel")
	case l.IntelRdt != nil:
		return unsupported("intelRdt")
	case l.Personality != nil:
		return unsupported("personality")
	case len(l.TimeOffsets) > 0:
		return unsupported("timeOffsets")
	case len(l.NetDevices) > 0:
		return unsupported("netDevices")
	}
	return nil
}
