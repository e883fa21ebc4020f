package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config of a Server.
type Config struct {
	Addr      netip.AddrPort   // where it listens, UDP and TCP
	Upstreams []netip.AddrPort // resolvers for names outside the cluster, in order; Addr itself is left out
	Timeout   time.Duration    // of one try at one resolver; default 2 s
	MaxAsking int              // questions to resolvers at one time, beyond which the server fails; default 1024; an eighth for one asker
	Log       *slog.Logger     // default slog.Default()
}

// Server answers replicas. Safe for concurrent use.
type Server struct {
	cfg     Config
	index   atomic.Pointer[index]
	asking  *limiter // questions to resolvers
	servers []*dns.Server
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
}

// TCP connections at one time, of all askers and of each. An idle one is closed after some seconds.
const (
	maxConns     = 1024
	maxConnsEach = 32
)

// Listen starts a server with an empty zone. It listens when Listen returns. An error is EADDRINUSE when another
// server has the port, perhaps of all addresses.
func Listen(cfg Config) (*Server, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, 2*time.Second)
	cfg.MaxAsking = cmp.Or(cfg.MaxAsking, 1024)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := newServer(cfg)
	packets, err := net.ListenPacket("udp4", cfg.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	listener, err := net.Listen("tcp4", cfg.Addr.String())
	if err != nil {
		_ = packets.Close()
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	s.start(&dns.Server{PacketConn: packets, UDPSize: dns.DefaultMsgSize}, &dns.Server{Listener: limitedListener{listener, newLimiter(maxConns, maxConnsEach)}})
	return s, nil
}

func newServer(cfg Config) *Server {
	s := &Server{cfg: cfg, asking: newLimiter(cfg.MaxAsking, max(1, cfg.MaxAsking/8))}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.index.Store(newIndex(Zone{}))
	return s
}

// start serves on each of servers and returns once they do.
func (s *Server) start(servers ...*dns.Server) {
	s.servers = servers
	for _, server := range servers {
		server.Handler = s
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() {
			if err := server.ActivateAndServe(); err != nil {
				s.cfg.Log.Error("serve DNS", "error", err)
			}
		}()
		<-started
	}
}

// Set makes the server answer by z from now on.
func (s *Server) Set(z Zone) { s.index.Store(newIndex(z)) }

// Close stops the server. Questions to resolvers are given up.
func (s *Server) Close() error {
	s.cancel()
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Shutdown())
	}
	return errors.Join(errs...)
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	reply := s.answer(s.ctx, addrOf(w.RemoteAddr()), query, tcp)
	if err := w.WriteMsg(reply); err != nil {
		s.cfg.Log.Debug("write DNS answer", "to", w.RemoteAddr(), "error", err)
	}
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
