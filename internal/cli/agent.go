package cli

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast/holdfast"
)

// AgentOptions are the flags of holdfast agent and holdfast gateway. What is not given has its zero value.
type AgentOptions struct {
	DataDir      string
	RunDir       string
	NodeName     string
	Labels       map[string]string
	HTTP         string
	HTTPS        string
	ACMEEmail    string
	ACMEURL      string
	ACMECA       string
	Registry     string
	CgroupParent string
	Resolvers    []netip.AddrPort
	AccessLog    bool
	HoldFor      time.Duration
	PoolMin      int
	PoolMax      int
	Log          *slog.Logger
}

// agentFlags are the flags as they are typed.
type agentFlags struct {
	AgentOptions
	labels    []string
	resolvers []string
	logFormat string
	logLevel  string
}

func (a *app) agentCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this node's agent in the foreground; or install it as a service",
		Long: "The agent is the one long-running process of a node: it serves the API, decides, runs what is assigned to its node\n" +
			"and keeps the cluster's state. It needs root. When it ends, containers and their connections go on; the next one\n" +
			"adopts them. holdfast up starts one by itself when none runs.",
		Example: "  holdfast agent                               in the foreground; ctrl-c ends it\n" +
			"  holdfast agent install                       as a systemd unit that starts with the machine\n" +
			"  holdfast agent --data /srv/hf --http :8080",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) > 0 {
				return unknownCommand(cmd, given)
			}
			opt, err := f.options(a)
			if err != nil {
				return err
			}
			return quietEnd(cmd.Context(), a.Agent(cmd.Context(), opt))
		},
	}
	f.register(cmd.Flags())
	cmd.AddCommand(a.agentInstallCommand(), a.agentUninstallCommand(), a.agentStopCommand())
	return cmd
}

func (f *agentFlags) register(fl *pflag.FlagSet) {
	f.registerShared(fl)
	fl.StringVar(&f.NodeName, "node", "", "name of this node (default: the machine's host name)")
	fl.StringArrayVar(&f.labels, "label", nil, "NAME=VALUE label of this node, for placement; repeat for several")
	fl.StringVar(&f.Registry, "registry", "", `address of the image registry for docker push and peers; "off" for none (default 127.0.0.1:5050)`)
	fl.StringVar(&f.CgroupParent, "cgroup-parent", "", "cgroup under which containers' are made (default /holdfast)")
	fl.StringArrayVar(&f.resolvers, "dns", nil, "ADDRESS[:PORT] of a DNS server for names outside (default: those of /etc/resolv.conf)")
	fl.IntVar(&f.PoolMin, "pool-min", 0, "sandboxes kept ready at rest (default 2)")
	fl.IntVar(&f.PoolMax, "pool-max", 0, "sandboxes kept ready while many replicas start (default 16)")
}

// registerShared adds the flags that the gateway's process has too.
func (f *agentFlags) registerShared(fl *pflag.FlagSet) {
	fl.StringVar(&f.DataDir, "data", "", "directory of what must survive a reboot (default /var/lib/holdfast)")
	fl.StringVar(&f.RunDir, "run", "", "directory of sockets (default /run/holdfast)")
	fl.StringVar(&f.HTTP, "http", "", `address of the gateway for routes; "off" for none (default :80)`)
	fl.StringVar(&f.HTTPS, "https", "", `address of the gateway for routes with TLS; "off" for none (default :443; off if --http is not :80)`)
	fl.StringVar(&f.ACMEEmail, "acme-email", "", "address that the certificate authority may write to, for routes with tls: auto")
	fl.StringVar(&f.ACMEURL, "acme-url", "", "directory of the ACME certificate authority (default: Let's Encrypt's)")
	fl.StringVar(&f.ACMECA, "acme-ca", "", "FILE of roots to trust when talking to that authority (default: the system's)")
	fl.DurationVar(&f.HoldFor, "hold", 0, "how long the gateway holds a request while no replica is ready (default 10s)")
	fl.BoolVar(&f.AccessLog, "access-log", false, "have the gateway log each request")
	fl.StringVar(&f.logFormat, "log-format", "text", "format of the log: text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "least level that is logged: debug, info, warn or error")
}

// options checks the flags and fills in what is made of them.
func (f *agentFlags) options(a *app) (AgentOptions, error) {
	opt := f.AgentOptions
	var err error
	if opt.Labels, err = parseLabels(f.labels); err != nil {
		return opt, err
	}
	for _, text := range f.resolvers {
		addr, err := parseResolver(text)
		if err != nil {
			return opt, err
		}
		opt.Resolvers = append(opt.Resolvers, addr)
	}
	opt.Log, err = a.logger(f.logFormat, f.logLevel)
	return opt, err
}

func parseLabels(pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usage("--label %q: want NAME=VALUE", p)
		}
		out[name] = value
	}
	return maps.Clone(out), nil
}

func parseResolver(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		const dns = 53
		return netip.AddrPortFrom(addr, dns), nil
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return addr, usage("--dns %s: want the IP address of a DNS server, with or without a port", text)
	}
	return addr, nil
}

func (a *app) logger(format, level string) (*slog.Logger, error) {
	var opt slog.HandlerOptions
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %s: want debug, info, warn or error", level)
	}
	opt.Level = least
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(a.Stderr, &opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.Stderr, &opt)), nil
	}
	return nil, usage("--log-format %s: want text or json", format)
}

// quietEnd makes no error of an end that was asked for.
func quietEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || holdfast.KindOf(err) == nil) {
		return nil
	}
	return err
}

// gatewayCommand is the gateway's process, which the agent starts.
func (a *app) gatewayCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use: "gateway", Short: "The gateway's process; the agent starts it", Hidden: true, Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt, err := f.options(a)
			if err != nil {
				return err
			}
			return quietEnd(cmd.Context(), a.Gateway(cmd.Context(), opt))
		},
	}
	f.registerShared(cmd.Flags())
	return cmd
}

// supervisorCommand is the parent of all containers, which the agent starts; its arguments are between the two.
func (a *app) supervisorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "supervisor", Short: "The parent of all containers; the agent starts it", Hidden: true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := a.Supervisor(cmd.Context(), given); err != nil {
				return fmt.Errorf("supervisor: %w", err)
			}
			return nil
		},
	}
}
