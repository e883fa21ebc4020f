package compose

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// extension is a service's x-holdfast section.
type extension struct {
	Kind      holdfast.Kind
	Isolation string
	Readiness *holdfast.Probe
	Liveness  *holdfast.Probe
	Debian    *holdfast.DebianSource
	Go        *holdfast.GoSource
	Tar       string
}

// laterKeys are the keys of x-holdfast that later versions will fill.
var laterKeys = []string{"scale", "sessions", "database", "fleet", "static", "auth"}

// extension reads the entry's x-holdfast section; routes are read by e.routes, once ports are known.
func (e *entry) extension() *extension {
	x := &extension{}
	v, ok := e.c.Extensions["x-holdfast"]
	if !ok {
		return x
	}
	r := e.read(at("x-holdfast"), v)
	switch kind := holdfast.Kind(r.text("kind")); kind {
	case "", holdfast.Stateless, holdfast.Stateful:
		x.Kind = kind
	default:
		e.bad(r.at("kind"), "unknown kind %q: use stateless or stateful", kind)
	}
	switch isolation := r.text("isolation"); isolation {
	case "", "container":
		x.Isolation = isolation
	case "vm":
		e.cannot(r.at("isolation"), "virtual machines are not in this version yet: use container, or leave it out")
	default:
		e.bad(r.at("isolation"), "unknown isolation %q: use container", isolation)
	}
	e.readHealth(r, x)
	x.Go, x.Debian = e.readGo(r), e.readDebian(r)
	if tar := r.text("tar"); tar != "" {
		x.Tar = e.pathHere(r.at("tar"), tar)
		if !isFile(x.Tar) {
			e.bad(r.at("tar"), "image archive does not exist: %s", displayName(x.Tar))
		}
	}
	r.get("route")
	for _, key := range laterKeys {
		if _, ok := r.get(key); ok {
			e.cannot(r.at(key), "is not in this version yet: take it out")
		}
	}
	r.done()
	return x
}

// pathHere makes a path absolute that is relative to the project directory, or to that of the included file.
func (e *entry) pathHere(where []any, name string) string {
	dir := e.dir
	if doc := e.files.docOf(e.at.at(where...)); doc != nil {
		dir = doc.dir
	}
	return absIn(dir, name)
}

func (e *entry) readHealth(r *reader, x *extension) {
	v, ok := r.get("health")
	if !ok {
		return
	}
	h := e.read(r.at("health"), v)
	if p, ok := h.get("readiness"); ok {
		x.Readiness = e.probe(h.at("readiness"), p, defaultReadyInterval)
	}
	if p, ok := h.get("liveness"); ok {
		x.Liveness = e.probe(h.at("liveness"), p, defaultInterval)
	}
	h.done()
}

func (e *entry) probe(where []any, v any, interval holdfast.Duration) *holdfast.Probe {
	r := e.read(where, v)
	p := &holdfast.Probe{}
	ways := 0
	if v, ok := r.get("http"); ok {
		p.HTTP = e.httpProbe(r.at("http"), v)
		ways++
	}
	if port, ok := r.number("tcp", 1, 65535); ok {
		p.TCP = uint16(port)
	}
	if _, ok := r.m["tcp"]; ok {
		ways++
	}
	if v, ok := r.get("exec"); ok {
		p.Exec = e.execProbe(r, v)
		ways++
	}
	if ways != 1 {
		e.bad(where, "needs exactly one of http, tcp and exec")
	}
	timeout, start := defaultProbeTimeout, defaultNetStartInterval
	if p.Exec != nil {
		timeout, start = defaultTimeout, defaultStartInterval
	}
	p.Interval = r.duration("interval", interval, false)
	p.Timeout = r.duration("timeout", timeout, false)
	p.StartPeriod = r.duration("start_period", defaultStartPeriod, true)
	p.StartInterval = r.duration("start_interval", start, false)
	retries, _ := r.number("retries", 1, 1000)
	p.Retries = cmp.Or(retries, defaultRetries)
	r.done()
	return p
}

func (e *entry) httpProbe(where []any, v any) *holdfast.HTTPProbe {
	r := e.read(where, v)
	p := &holdfast.HTTPProbe{Path: "/"}
	port, _ := r.number("port", 1, 65535)
	if _, ok := r.m["port"]; !ok {
		e.bad(where, "needs a port")
	}
	p.Port = uint16(port)
	if text := r.text("path"); text != "" {
		p.Path = text
		if !strings.HasPrefix(text, "/") || strings.ContainsAny(text, " \r\n#") {
			e.bad(r.at("path"), "%q must start with / and have no spaces", text)
		}
	}
	if p.Host = r.text("host"); p.Host != "" && !validHostname(p.Host) {
		e.bad(r.at("host"), "%q is not a host name", p.Host)
	}
	r.done()
	return p
}

// execProbe reads a command: a string is run by the shell, a list as it is.
func (e *entry) execProbe(r *reader, v any) []string {
	if text, ok := v.(string); ok && strings.TrimSpace(text) != "" {
		return []string{"/bin/sh", "-c", text}
	}
	if list := r.texts("exec"); len(list) > 0 {
		return list
	}
	e.bad(r.at("exec"), "must be a command: a string or a list of strings")
	return []string{"/bin/false"}
}

func (e *entry) readGo(r *reader) *holdfast.GoSource {
	v, ok := r.get("go")
	if !ok {
		return nil
	}
	g := &holdfast.GoSource{}
	if text, ok := v.(string); ok {
		g.Package, g.Dir = text, e.pathHere(r.at("go"), ".")
	} else {
		o := e.read(r.at("go"), v)
		g.Package = o.text("package")
		g.Dir = e.pathHere(r.at("go"), cmp.Or(o.text("dir"), "."))
		g.Flags, g.Env = o.texts("flags"), o.texts("env")
		for i, v := range g.Env {
			if name, _, ok := strings.Cut(v, "="); !ok || envProblem(name) != "" {
				e.bad(o.at("env", i), "%q is not NAME=value", v)
			}
		}
		o.done()
	}
	if g.Package == "" {
		e.bad(r.at("go"), "needs a package, such as ./cmd/api")
		return g
	}
	if strings.HasPrefix(g.Package, ".") && !isDir(absIn(g.Dir, g.Package)) {
		e.bad(r.at("go"), "no such package: %s is not a directory", displayName(absIn(g.Dir, g.Package)))
	}
	if strings.HasPrefix(g.Package, "-") {
		e.bad(r.at("go"), "%q is not a package: flags have a key of their own", g.Package)
	}
	return g
}

var (
	debianPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+|/[a-z0-9-]+)?$`)
	debianSuite   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	userName      = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	// debianVariants are mmdebstrap's.
	debianVariants = []string{"extract", "custom", "essential", "apt", "minbase", "buildd", "important", "standard"}
)

func (e *entry) readDebian(r *reader) *holdfast.DebianSource {
	v, ok := r.get("debian")
	if !ok {
		return nil
	}
	o := e.read(r.at("debian"), v)
	d := &holdfast.DebianSource{Packages: o.texts("packages"), Suite: o.text("suite"), Variant: o.text("variant"), Run: o.texts("run")}
	if len(d.Packages) == 0 {
		e.bad(o.at("packages"), "needs at least one package")
	}
	for i, p := range d.Packages {
		if !debianPackage.MatchString(p) {
			e.bad(o.at("packages", i), "%q is not a Debian package's name", p)
		}
	}
	if d.Suite != "" && !debianSuite.MatchString(d.Suite) {
		e.bad(o.at("suite"), "%q is not a suite such as bookworm or stable", d.Suite)
	}
	if d.Variant != "" && !slices.Contains(debianVariants, d.Variant) {
		e.bad(o.at("variant"), "unknown variant %q%s", d.Variant, didYouMean(d.Variant, debianVariants))
	}
	d.Copy, d.Users = e.debianCopy(o), e.debianUsers(o)
	o.done()
	return d
}

// debianCopy reads a mapping from a path in the image to one here.
func (e *entry) debianCopy(o *reader) map[string]string {
	v, ok := o.get("copy")
	if !ok {
		return nil
	}
	out := map[string]string{}
	r := e.read(o.at("copy"), v)
	for _, target := range sortedKeys(r.m) {
		source := r.text(target)
		if !path.IsAbs(target) || path.Clean(target) == "/" {
			e.bad(r.at(target), "the key must be an absolute path in the image, the value a path here")
			continue
		}
		if source == "" {
			continue
		}
		abs := e.pathHere(r.at(target), source)
		if !isFile(abs) && !isDir(abs) {
			e.bad(r.at(target), "file to copy does not exist: %s", displayName(abs))
		}
		out[path.Clean(target)] = abs
	}
	return out
}

func (e *entry) debianUsers(o *reader) map[string]int {
	v, ok := o.get("users")
	if !ok {
		return nil
	}
	out := map[string]int{}
	r := e.read(o.at("users"), v)
	for _, name := range sortedKeys(r.m) {
		uid, _ := r.number(name, 1, 65534)
		if !userName.MatchString(name) {
			e.bad(r.at(name), "%q is not a user name", name)
		}
		out[name] = uid
	}
	return out
}
