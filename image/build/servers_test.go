package build

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// running is a server in namespaces of its own, on the root file system of an image.
type running struct {
	t    *testing.T
	pid  int // of the server on this machine
	wait chan error
}

// start runs argv as uid on a writable copy of the image src makes.
func start(t *testing.T, src holdfast.DebianSource, uid int, files map[string]string, argv ...string) *running {
	t.Helper()
	needMmdebstrap(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount and to make namespaces")
	}
	_, img := importInto(t, holdfast.ImageSource{Ref: "holdfast.local/test/server", Debian: &src}, Options{CacheDir: testCache(t)})
	work := t.TempDir()
	for _, sub := range []string{"upper", "work", "root", "lower"} {
		if err := os.Mkdir(filepath.Join(work, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower := filepath.Join(work, "lower")
	mount := fmt.Sprintf("mount -t erofs -o ro %s %s", img.EROFS, lower)
	if img.EROFS == "" {
		mount = fmt.Sprintf("mount --bind %s %s", img.Dirs[0], lower)
	}
	for name, data := range files {
		path := filepath.Join(work, "upper", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`set -e; ip link set lo up; cd %[1]s; %[2]s
		mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay root
		mount -t proc proc root/proc; mount -t tmpfs tmpfs root/dev/shm
		exec chroot --userspec=%[3]d:%[3]d root "$@"`, work, mount, uid)
	cmd := exec.Command("unshare", append([]string{"--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"}, argv...)...)
	log, err := os.Create(filepath.Join(work, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, wait: make(chan error, 1)}
	go func() { r.wait <- cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("server's output:\n%s", text)
		}
		cmd.Process.Kill() //nolint:errcheck // it may have ended
	})
	r.pid = childOf(t, cmd.Process.Pid)
	return r
}

// testCache is one cache for all tests of this process, so that images are built once.
func testCache(t *testing.T) string {
	t.Helper()
	return sharedCache
}

// childOf waits for the only child of pid.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		var child int
		if n, _ := fmt.Sscan(string(data), &child); err == nil && n == 1 {
			return child
		}
		<-tick.C
	}
	t.Fatal("the server did not start")
	return 0
}

// dial connects inside the server's network namespace.
func (r *running) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", r.pid))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// dialAside is dial in a goroutine of its own.
func (r *running) dialAside(ctx context.Context, network, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		conn, err := r.dial(ctx, network, addr)
		done <- result{conn, err}
	}()
	res := <-done
	return res.conn, res.err
}

// eventually calls f until it succeeds.
func (r *running) eventually(what string, f func() error) {
	r.t.Helper()
	var err error
	for range 600 {
		if err = f(); err == nil {
			return
		}
		select {
		case exit := <-r.wait:
			r.t.Fatalf("%s: the server ended: %v", what, exit)
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.t.Fatalf("%s: %v", what, err)
}

func (r *running) get(path string) string {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: r.dialAside, DisableKeepAlives: true}}
	var body string
	r.eventually("GET "+path, func() error {
		resp, err := client.Get("http://127.0.0.1" + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, data)
		}
		body = string(data)
		return err
	})
	return body
}

// stop sends a signal and waits for the end.
func (r *running) stop(sig unix.Signal) {
	r.t.Helper()
	if err := unix.Kill(r.pid, sig); err != nil {
		r.t.Fatal(err)
	}
	select {
	case err := <-r.wait:
		if err != nil {
			r.t.Errorf("the server ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		r.t.Errorf("the server did not end on %v", sig)
	}
}

func arcade(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("../../examples/arcade", path))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func TestNginxRuns(t *testing.T) {
	r := start(t, holdfast.DebianSource{
		Packages: []string{"nginx-light"},
		Copy:     map[string]string{"/srv/www": arcade(t, "web/www"), "/etc/nginx/nginx.conf": arcade(t, "web/nginx.conf")},
	}, 0, nil, "nginx", "-g", "daemon off;")
	if body := r.get("/"); !strings.Contains(body, "Arcade") {
		t.Errorf("page is %q", body)
	}
	r.stop(unix.SIGQUIT)
}

func TestApacheRuns(t *testing.T) {
	r := start(t, holdfast.DebianSource{
		Packages: []string{"apache2"},
		Copy:     map[string]string{"/srv/site": arcade(t, "site/www"), "/etc/apache2/arcade.conf": arcade(t, "site/apache2.conf")},
	}, 0, nil, "apache2", "-f", "/etc/apache2/arcade.conf", "-DFOREGROUND")
	if body := r.get("/site/"); !strings.Contains(body, "Apache") {
		t.Errorf("page is %q", body)
	}
	r.stop(unix.SIGWINCH)
}

// TestPackagedConfigurationsRun starts nginx and Apache as their packages configure them.
func TestPackagedConfigurationsRun(t *testing.T) {
	r := start(t, holdfast.DebianSource{Packages: []string{"nginx-light"}}, 0, nil, "nginx", "-g", "daemon off;")
	if body := r.get("/"); !strings.Contains(body, "nginx") {
		t.Errorf("page is %q", body)
	}
	r = start(t, holdfast.DebianSource{Packages: []string{"apache2"}}, 0, nil, "apachectl", "-DFOREGROUND")
	if body := r.get("/"); !strings.Contains(body, "Apache2") {
		t.Errorf("page is %q", body)
	}
}

func TestPostgresRuns(t *testing.T) {
	password := rand.Text() + "'\\ \""
	r := start(t, holdfast.DebianSource{
		Packages: []string{"postgresql-15"},
		Copy:     map[string]string{"/usr/local/bin/start-postgres": arcade(t, "db/start-postgres")},
		Users:    map[string]int{"postgres": 999},
		Run:      []string{"install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data"},
	}, 999, map[string]string{"run/secrets/db_password": password}, "/usr/local/bin/start-postgres")
	cfg, err := pgx.ParseConfig("host=127.0.0.1 user=arcade dbname=arcade sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password, cfg.DialFunc = password, r.dialAside
	var conn *pgx.Conn
	r.eventually("connect", func() (err error) { conn, err = pgx.ConnectConfig(t.Context(), cfg); return err })
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)"); err != nil {
		t.Fatal(err)
	}
	wrong := cfg.Copy()
	wrong.Password = "wrong"
	if _, err := pgx.ConnectConfig(t.Context(), wrong); err == nil {
		t.Error("a wrong password is accepted")
	}
	r.stop(unix.SIGINT)
}

func TestRedisRuns(t *testing.T) {
	r := start(t, holdfast.DebianSource{Packages: []string{"redis-server"}}, 0, nil, "redis-server", "--save", "", "--dir", "/tmp")
	r.eventually("PING", func() error {
		conn, err := r.dialAside(t.Context(), "tcp", "127.0.0.1:6379")
		if err != nil {
			return err
		}
		defer conn.Close()
		fmt.Fprint(conn, "PING\r\n")
		answer := make([]byte, 7)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "+PONG\r\n" {
			return fmt.Errorf("answer is %q: %w", answer, err)
		}
		return nil
	})
	r.stop(unix.SIGTERM)
}

func TestMariaDBRuns(t *testing.T) {
	r := start(t, holdfast.DebianSource{
		Packages: []string{"mariadb-server"},
		Users:    map[string]int{"mysql": 999},
		Run:      []string{"install -d -o mysql -g mysql /var/lib/mysql /run/mysqld"},
	}, 999, nil, "sh", "-c",
		"mariadb-install-db --auth-root-authentication-method=normal --skip-test-db >/dev/null && exec mariadbd --bind-address=127.0.0.1 --socket=/tmp/s")
	r.eventually("handshake", func() error {
		conn, err := r.dialAside(t.Context(), "tcp", "127.0.0.1:3306")
		if err != nil {
			return err
		}
		defer conn.Close()
		greeting := make([]byte, 64)
		n, err := conn.Read(greeting)
		if err != nil || !strings.Contains(string(greeting[:n]), "MariaDB") {
			return fmt.Errorf("greeting is %q: %w", greeting[:n], err)
		}
		return nil
	})
	r.stop(unix.SIGTERM)
}
