package agent

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/network"
	"github.com/holdfast/holdfast/volume"
)

// cleanupTimeout bounds what is done for a replica that has ended.
const cleanupTimeout = 30 * time.Second

func (t *task) getImage(ctx context.Context) error {
	image, err := t.agent.images.Ensure(ctx, t.spec.Image, t.spec.PullPolicy)
	if err != nil {
		return err
	}
	t.image, t.config = image, image.Config
	return nil
}

func (t *task) prepareConfig(context.Context) error {
	oci, err := ociSpec(&t.spec, t.config, t.hostname())
	t.oci = oci
	return err
}

func (t *task) hostname() string { return hostnameOf(&t.spec, &t.replica) }

func hostnameOf(spec *holdfast.Spec, r *holdfast.Replica) string {
	if spec.Hostname != "" {
		return spec.Hostname
	}
	return fmt.Sprintf("%s-%d", r.Service, r.Slot)
}

// prepareVolumes makes sure that what is to be mounted is there, and adds the mounts.
func (t *task) prepareVolumes(ctx context.Context) error {
	for _, m := range t.spec.Mounts {
		mount, err := t.mount(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Target, err)
		}
		t.oci.Mounts = append(t.oci.Mounts, mount)
	}
	for target := range t.config.Volumes {
		if t.mountsAt(target) {
			continue
		}
		mount, err := t.mount(ctx, holdfast.Mount{Type: "volume", Target: target})
		if err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
		t.oci.Mounts = append(t.oci.Mounts, mount)
	}
	return nil
}

func (t *task) mountsAt(target string) bool {
	for _, m := range t.oci.Mounts {
		if filepath.Clean(m.Destination) == filepath.Clean(target) {
			return true
		}
	}
	return false
}

func (t *task) mount(ctx context.Context, m holdfast.Mount) (specs.Mount, error) {
	switch m.Type {
	case "tmpfs":
		return tmpfsMount(m), nil
	case "bind":
		return t.bindMount(m)
	case "volume":
		return t.volumeMount(ctx, m)
	case "image":
		return t.imageMount(ctx, m)
	default:
		return specs.Mount{}, holdfast.Errorf(holdfast.ErrUnsupported, "mount type %s", m.Type)
	}
}

func tmpfsMount(m holdfast.Mount) specs.Mount {
	options := []string{"nosuid", "nodev", "noexec"}
	if m.SizeBytes > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.SizeBytes))
	}
	mode := m.FileMode
	if mode == 0 {
		mode = 0o1777
	}
	options = append(options, fmt.Sprintf("mode=%o", mode))
	if m.ReadOnly {
		options = append(options, "ro")
	}
	return specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: options}
}

func (t *task) bindMount(m holdfast.Mount) (specs.Mount, error) {
	if err := volume.BindSource(m.Source, m.CreateHost); err != nil {
		return specs.Mount{}, err
	}
	return t.bind(m.Source, m), nil
}

func (t *task) volumeMount(ctx context.Context, m holdfast.Mount) (specs.Mount, error) {
	var fill volume.Fill
	if !m.NoCopy {
		fill = volume.FromImage(t.image.Rootfs.EROFS, t.image.Rootfs.Dirs, m.Target)
	}
	if m.Source == "" {
		path, err := t.agent.volumes.AcquireAnonymous(ctx, t.replica.ID, m.Target, fill)
		return t.bind(path, m), err
	}
	v, ok := t.app.Volumes[m.Source]
	if !ok {
		return specs.Mount{}, holdfast.Errorf(holdfast.ErrNotFound, "the app has no volume %s", m.Source)
	}
	path, err := t.agent.volumes.Acquire(ctx, v, t.replica.ID, fill)
	if err == nil && m.Subpath != "" {
		path, err = t.agent.volumes.Subpath(ctx, v.Name, t.replica.ID, m.Subpath)
	}
	return t.bind(path, m), err
}

// imageMount shows the files of another image, read-only: a copy that goes with the replica.
func (t *task) imageMount(ctx context.Context, m holdfast.Mount) (specs.Mount, error) {
	other, err := t.agent.images.Ensure(ctx, m.Source, "")
	if err != nil {
		return specs.Mount{}, err
	}
	fill := volume.FromImage(other.Rootfs.EROFS, other.Rootfs.Dirs, cmp.Or(m.Subpath, "/"))
	path, err := t.agent.volumes.AcquireAnonymous(ctx, t.replica.ID, m.Target, fill)
	m.ReadOnly = true
	return t.bind(path, m), err
}

// bind mounts a path of the node. Ownership in it is the container's own ("idmap"), so root in the container is
// root in the volume also where the container has a user namespace.
func (t *task) bind(source string, m holdfast.Mount) specs.Mount {
	options := []string{"rbind"}
	if m.Type == "bind" && !m.Recursive {
		options = []string{"bind"}
	}
	if m.ReadOnly {
		options = append(options, "ro")
	}
	propagation := m.Propagation
	if propagation == "" {
		propagation = "rprivate"
	}
	options = append(options, propagation, "idmap")
	return specs.Mount{Destination: m.Target, Type: "bind", Source: source, Options: options}
}

func (t *task) takeSandbox(ctx context.Context) error {
	opt, err := t.parkOptions()
	if err != nil {
		return err
	}
	t.sandbox, err = t.agent.pool.take(ctx, opt)
	return err
}

func (t *task) parkOptions() (container.ParkOptions, error) {
	s := t.spec.Security
	opt := container.ParkOptions{
		HostUserNS: s.UserNS == "host" || s.Privileged || s.PID == "host" || t.spec.NetworkMode == "host",
		HostNet:    t.spec.NetworkMode == "host",
		HostPID:    s.PID == "host", HostIPC: s.IPC == "host", HostUTS: s.UTS == "host",
		Runtime: t.spec.Runtime,
	}
	if service, ok := cutService(t.spec.NetworkMode); ok {
		id, err := t.agent.runningReplica(t.replica.App, service)
		if err != nil {
			return opt, err
		}
		opt.NetOf = id
	}
	return opt, nil
}

func (t *task) connectNetwork(ctx context.Context) error {
	if t.spec.NetworkMode != "" {
		return nil
	}
	return t.agent.network.Connect(ctx, t.endpoint())
}

func (t *task) endpoint() network.Endpoint {
	e := network.Endpoint{Sandbox: t.sandbox.ID, NetNS: t.sandbox.NetNS, Replica: t.replica.ID}
	for _, a := range byPriority(t.spec.Networks) {
		addr := t.replica.Addresses[a.Network]
		if !addr.IsValid() {
			continue
		}
		n := t.app.Networks[a.Network]
		e.Attachments = append(e.Attachments, network.Attachment{Network: n.Name, Subnet: n.Subnet, Addr: addr})
	}
	// The way out of the cluster must not start on an internal network.
	internal := func(x network.Attachment) bool {
		return slices.ContainsFunc(t.spec.Networks, func(a holdfast.Attachment) bool {
			n := t.app.Networks[a.Network]
			return n.Name == x.Network && n.Internal
		})
	}
	slices.SortStableFunc(e.Attachments, func(x, y network.Attachment) int { return boolRank(internal(x)) - boolRank(internal(y)) })
	return e
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// containerSpec is what the runtime gets; the OCI config is shared.
func (t *task) containerSpec() container.Spec {
	user := t.spec.Process.User
	if user == "" {
		user = t.config.User
	}
	return container.Spec{
		ID: t.replica.ID, Sandbox: t.sandbox.ID, OCI: t.oci, Rootfs: t.image.Rootfs,
		User: user, Groups: t.spec.Process.GroupAdd,
		Init: t.spec.Process.Init, Stdin: t.spec.Process.Stdin, Log: t.logFile(),
		Labels: map[string]string{labelStopSignal: t.config.StopSignal},
	}
}

// labelStopSignal keeps the image's stop signal for an agent that adopts the container.
const labelStopSignal = "holdfast.stop-signal"

func (t *task) logFile() container.Log {
	l := t.spec.Logging
	if l.Driver == "none" {
		return container.Log{}
	}
	return container.Log{Path: t.agent.logPath(t.replica.ID), MaxBytes: l.MaxBytes, MaxFiles: l.MaxFiles}
}

func (t *task) startContainer(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(t.agent.logPath(t.replica.ID)), 0o700); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	status, err := t.agent.runtime.Start(ctx, t.containerSpec())
	if err != nil {
		return err
	}
	t.started = true
	t.status.Started, t.status.PID = status.Started, status.PID
	return nil
}

// cleanup frees all that the replica held on this node but its log. What fails is logged: the next agent's start
// sweeps what belongs to no replica.
func (t *task) cleanup() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	ids := []string{t.replica.ID}
	if !t.started && t.sandbox.ID != "" {
		ids = append(ids, t.sandbox.ID)
	}
	for _, id := range ids {
		if err := t.agent.runtime.Remove(ctx, id); err != nil {
			t.log.Warn("remove container", "id", id, "err", err)
		}
	}
	if t.sandbox.ID != "" && !t.sandbox.Opt.HostNet && t.sandbox.Opt.NetOf == "" {
		if err := t.agent.network.Release(ctx, t.sandbox.ID); err != nil {
			t.log.Warn("release network", "err", err)
		}
	}
	if err := t.agent.volumes.Release(ctx, t.replica.ID); err != nil {
		t.log.Warn("release volumes", "err", err)
	}
	if err := os.RemoveAll(t.agent.filesDir(t.replica.ID)); err != nil {
		t.log.Warn("remove files", "err", err)
	}
}
