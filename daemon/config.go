package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// Version of this build; the Makefile sets it.
var Version = "dev"

// Defaults of Config that other programs need to know.
const (
	DefaultDataDir = "/var/lib/holdfast"
	DefaultRunDir  = "/run/holdfast"
)

// Config of an agent. The zero value, after Defaults, is a good one for one agent on a machine.
type Config struct {
	DataDir  string // what must survive a reboot; default /var/lib/holdfast
	RunDir   string // sockets and short-lived files; default /run/holdfast
	NodeName string // default: the machine's host name
	Labels   map[string]string
	// HTTP is the gateway's address for routes; default ":80".
	HTTP string
	// HTTPS is the gateway's address for routes with TLS, "off" for none; default ":443" if HTTP is ":80", else "off".
	HTTPS string
	ACME  ACME
	// Registry is where the image store answers the OCI distribution API; default "127.0.0.1:5050", "off" for nowhere.
	Registry string
	// CgroupParent is the absolute path under which containers' cgroups are made; default "/holdfast".
	CgroupParent string
	// Resolvers answer for names outside the cluster; default: those of /etc/resolv.conf.
	Resolvers []netip.AddrPort
	AccessLog bool
	// HoldFor is how long the gateway holds a request while its service has no ready replica; default 10 s.
	HoldFor time.Duration
	PoolMin int // sandboxes parked at rest; default 2
	PoolMax int // sandboxes parked while starts come fast; default 16
	Log     *slog.Logger
}

// Defaults returns cfg with everything that was left out filled in.
func (cfg Config) Defaults() Config {
	setDefault(&cfg.DataDir, DefaultDataDir)
	setDefault(&cfg.RunDir, DefaultRunDir)
	if cfg.NodeName == "" {
		cfg.NodeName, _ = os.Hostname()
	}
	setDefault(&cfg.HTTP, ":80")
	setDefault(&cfg.HTTPS, defaultHTTPS(cfg.HTTP))
	setDefault(&cfg.Registry, "127.0.0.1:5050")
	setDefault(&cfg.CgroupParent, "/holdfast")
	setDefault(&cfg.HoldFor, 10*time.Second)
	setDefault(&cfg.PoolMin, 2)
	setDefault(&cfg.PoolMax, 16)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return cfg
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports the first thing in cfg, with its defaults, that no agent can run with.
func (cfg Config) Validate() error {
	for _, dir := range []struct{ flag, path string }{{"--data", cfg.DataDir}, {"--run", cfg.RunDir}, {"--cgroup-parent", cfg.CgroupParent}} {
		if !filepath.IsAbs(dir.path) {
			return holdfast.Errorf(holdfast.ErrInvalid, "%s %s: give an absolute path", dir.flag, dir.path)
		}
	}
	for _, addr := range []struct{ flag, text string }{{"--http", cfg.HTTP}, {"--https", cfg.HTTPS}, {"--registry", cfg.Registry}} {
		if addr.text == "off" {
			continue
		}
		_, port, err := net.SplitHostPort(addr.text)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, `%s %s: want HOST:PORT, :PORT or "off"`, addr.flag, addr.text)
		}
	}
	if most := maxSocketPath - len("/supervisor.sock"); len(cfg.RunDir) > most {
		return holdfast.Errorf(holdfast.ErrInvalid, "--run %s: too long for a unix socket below it; give a path of at most %d bytes", cfg.RunDir, most)
	}
	if cfg.HoldFor < 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "--hold %s: must not be negative", cfg.HoldFor)
	}
	if cfg.PoolMin < 0 || cfg.PoolMax < cfg.PoolMin {
		return holdfast.Errorf(holdfast.ErrInvalid, "--pool-min %d, --pool-max %d: want 0 <= min <= max", cfg.PoolMin, cfg.PoolMax)
	}
	if strings.ContainsAny(cfg.NodeName, "/ \t\n") || cfg.NodeName == "" {
		return holdfast.Errorf(holdfast.ErrInvalid, "--node %q: want a name without spaces and slashes", cfg.NodeName)
	}
	if os.Geteuid() != 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "the agent needs root: it makes namespaces, mounts and routes; run it with sudo")
	}
	return nil
}

// maxSocketPath is what sockaddr_un holds, less its final zero.
const maxSocketPath = 107

// Socket is the path of the API's unix socket.
func (cfg Config) Socket() string { return filepath.Join(cfg.RunDir, "api.sock") }

func (cfg Config) dir(name string) string { return filepath.Join(cfg.DataDir, name) }

func (cfg Config) makeDirs() error {
	for _, dir := range []string{cfg.DataDir, cfg.RunDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	return nil
}
