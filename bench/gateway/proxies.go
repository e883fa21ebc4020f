package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	backendPort = 18080 // on 127.9.0.1 to 127.9.0.4
	proxyCPU    = "0"   // the proxies' core
	loadCPU     = "1"   // the core of the backend and of wrk
)

// proxy is one candidate.
type proxy struct {
	name string
	port int
	cmd  *exec.Cmd
}

func backends() []string {
	var all []string
	for i := 1; i <= 4; i++ {
		all = append(all, fmt.Sprintf("127.9.0.%d", i))
	}
	return all
}

// start starts the backend and all candidates.
func (b *bench) start(ctx context.Context, engines []string, sizes []int) error {
	for _, size := range sizes {
		body := bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(filepath.Join(b.dir, fmt.Sprint(size)), body, 0o644); err != nil {
			return err
		}
	}
	if err := b.backend(ctx); err != nil {
		return err
	}
	if err := serveSockets(ctx); err != nil {
		return err
	}
	if err := b.nginx(ctx); err != nil {
		return err
	}
	if err := b.haproxy(ctx); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i, engine := range engines {
		port := 18100 + i
		if err := b.launch(ctx, "holdfast "+engine, port, proxyCPU, self, "serve", engine, fmt.Sprint(port)); err != nil {
			return err
		}
	}
	return nil
}

// launch starts a candidate on a core and waits until it answers.
func (b *bench) launch(ctx context.Context, name string, port int, cpu string, argv ...string) error {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", cpu}, argv...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	b.proxies = append(b.proxies, &proxy{name: name, port: port, cmd: cmd})
	host := "127.0.0.1"
	if port == backendPort {
		host = "127.9.0.1"
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(fmt.Sprintf("http://%s:%d/200", host, port))
		if err == nil {
			resp.Body.Close()
			return nil
		}
	}
	return fmt.Errorf("start %s: it does not answer", name)
}

func (b *bench) stop() {
	for _, p := range b.proxies {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait()
	}
}

func (b *bench) write(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

const nginxCommon = `
daemon off; master_process on; worker_processes 1; worker_rlimit_nofile 20000; pid %[1]s/%[2]s.pid; error_log stderr crit;
events { worker_connections 18000; }
http {
	access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; tcp_nodelay on;
	client_body_temp_path %[1]s/tmp-%[2]s; proxy_temp_path %[1]s/tmp-%[2]s-p; fastcgi_temp_path %[1]s/tmp-%[2]s-f;
	uwsgi_temp_path %[1]s/tmp-%[2]s-u; scgi_temp_path %[1]s/tmp-%[2]s-s;
	open_file_cache max=100;
	%[3]s
}
`

// backend is one nginx that is four servers.
func (b *bench) backend(ctx context.Context) error {
	server := "tcp_nopush on; server { " // head and body of a response in one segment, as most servers have it
	for _, ip := range backends() {
		server += fmt.Sprintf("listen %s:%d; ", ip, backendPort)
	}
	server += "root " + b.dir + "; }"
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	path, err := b.write("backend.conf", fmt.Sprintf(nginxCommon, b.dir, "backend", server))
	if err != nil {
		return err
	}
	return b.launch(ctx, "backend", backendPort, loadCPU, "nginx", "-c", path)
}

func (b *bench) nginx(ctx context.Context) error {
	var servers strings.Builder
	for _, ip := range backends() {
		fmt.Fprintf(&servers, "server %s:%d; ", ip, backendPort)
	}
	conf := fmt.Sprintf(`upstream ws { server 127.9.0.1:%[2]d; server 127.9.0.2:%[2]d; server 127.9.0.3:%[2]d; server 127.9.0.4:%[2]d; }
	upstream u { %[1]s keepalive 1024; keepalive_requests 100000000; keepalive_timeout 600s; }
	server { listen 127.0.0.1:18090;
	location /ws {
		proxy_pass http://ws; proxy_http_version 1.1; proxy_set_header Connection upgrade; proxy_set_header Upgrade websocket;
		proxy_read_timeout 600s;
	}
	location / {
		proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
		proxy_set_header X-Forwarded-For $remote_addr; proxy_buffers 8 16k;
	} }`, servers.String(), socketPort)
	path, err := b.write("nginx.conf", fmt.Sprintf(nginxCommon, b.dir, "nginx", conf))
	if err != nil {
		return err
	}
	return b.launch(ctx, "nginx", 18090, proxyCPU, "nginx", "-c", path)
}

func (b *bench) haproxy(ctx context.Context) error {
	conf := `global
	maxconn 9000
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 600s
	timeout server 600s
	http-reuse always
	option forwardfor
frontend f
	bind 127.0.0.1:18091
	maxconn 9000
	use_backend ws if { path_beg /ws }
	default_backend u
`
	ws, u := "backend ws\n\ttimeout tunnel 600s\n", "backend u\n"
	for i, ip := range backends() {
		ws += fmt.Sprintf("\tserver s%d %s:%d\n", i, ip, socketPort)
		u += fmt.Sprintf("\tserver s%d %s:%d pool-max-conn 1024\n", i, ip, backendPort)
	}
	path, err := b.write("haproxy.cfg", conf+ws+u)
	if err != nil {
		return err
	}
	return b.launch(ctx, "haproxy", 18091, proxyCPU, "haproxy", "-db", "-f", path)
}
