package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// cleaned are paths that a server does not need.
var cleaned = []string{
	"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*",
	"/usr/share/bug/*", "/usr/share/linda/*", "/usr/share/doc-base/*", "/usr/share/gnome/*",
}

// setupScript makes the file system's skeleton before packages are extracted: /bin and the like are links into /usr,
// as on every installed system.
const setupScript = `#!/bin/sh
set -eu
cd "$1"
for d in bin sbin lib lib64; do
	mkdir -p "usr/$d"
	[ -e "$d" ] || ln -s "usr/$d" "$d"
done
`

// listsScripts return the scripts that take the lists of packages from the cache at dir before they are updated, and
// that put them there afterwards. Apt checks them like any others; what did not change is not downloaded again.
func listsScripts(dir string) (load, save string) {
	load = `#!/bin/sh
cache=` + quote(dir) + `
lists=$1/var/lib/apt/lists
[ -d "$cache" ] || exit 0
mkdir -p "$lists"
cp -a "$cache/." "$lists/" || rm -rf "$lists"/*
`
	save = `#!/bin/sh
cache=` + quote(dir) + `
new=$(mktemp -d "$cache.XXXXXX") || exit 0
if cp -a "$1/var/lib/apt/lists/." "$new/"; then
	rm -rf "$cache"
	mv -T "$new" "$cache" 2>/dev/null
fi
rm -rf "$new"
`
	return load, save
}

// fixupScript does what maintainer scripts do on installation, where no such script has run, and removes what a server
// does not need. Everything in it first looks whether it is needed: it runs in all variants.
const fixupScript = `#!/bin/sh
set -eu
root=$1
cd "$root"

# users and groups: base-passwd
for f in passwd group; do
	[ -e "etc/$f" ] || cp "usr/share/base-passwd/$f.master" "etc/$f"
done

# shell, awk and pager: alternatives
[ -e bin/sh ] || ln -s dash bin/sh
[ -e usr/bin/awk ] || [ ! -e usr/bin/mawk ] || ln -s mawk usr/bin/awk
[ -e usr/bin/which ] || [ ! -e usr/bin/which.debianutils ] || ln -s which.debianutils usr/bin/which

# skeleton: base-files
mkdir -p dev proc sys run/lock tmp var/tmp var/log var/lib var/cache var/mail root home etc mnt opt srv
chmod 1777 tmp var/tmp run/lock
chmod 700 root
for pair in lock:run/lock run:run; do
	old=var/${pair%%:*} new=${pair#*:}
	[ ! -L "$old" ] || continue
	[ ! -d "$old" ] || { cp -a "$old/." "$new/" && rm -r "$old"; }
	ln -s "/$new" "$old"
done
[ -e etc/nsswitch.conf ] || for f in usr/share/libc-bin/nsswitch.conf usr/share/base-files/nsswitch.conf; do
	[ -e "$f" ] && cp "$f" etc/nsswitch.conf && break
done
[ -e etc/profile ] || [ ! -e usr/share/base-files/profile ] || cp usr/share/base-files/profile etc/profile
[ -e etc/localtime ] || ln -s /usr/share/zoneinfo/Etc/UTC etc/localtime
[ -e etc/timezone ] || echo Etc/UTC >etc/timezone
rm -f etc/hostname etc/hosts etc/resolv.conf etc/machine-id
: >etc/machine-id
: >etc/hostname
: >etc/resolv.conf
echo '127.0.0.1 localhost' >etc/hosts

# nginx
if [ -e etc/nginx/sites-available/default ] && [ -z "$(ls etc/nginx/sites-enabled)" ]; then
	ln -s /etc/nginx/sites-available/default etc/nginx/sites-enabled/default
fi
[ ! -e usr/share/nginx/html/index.html ] || [ -e var/www/html/index.nginx-debian.html ] ||
	{ mkdir -p var/www/html && cp usr/share/nginx/html/index.html var/www/html/index.nginx-debian.html; }
for f in usr/share/nginx/modules-available/*.conf; do
	[ -e "$f" ] || continue
	link=etc/nginx/modules-enabled/50-$(basename "$f")
	[ -e "$link" ] || [ -L "$link" ] || ln -s "/$f" "$link"
done

# apache2: the modules and the site that its package enables
if [ -d etc/apache2/mods-available ] && [ -z "$(ls etc/apache2/mods-enabled 2>/dev/null)" ]; then
	mkdir -p etc/apache2/mods-enabled etc/apache2/conf-enabled etc/apache2/sites-enabled
	for m in alias auth_basic authn_core authn_file authz_core authz_host authz_user autoindex deflate dir env filter \
		mime mpm_event negotiation reqtimeout setenvif status; do
		for f in etc/apache2/mods-available/$m.load etc/apache2/mods-available/$m.conf; do
			[ ! -e "$f" ] || ln -s "../mods-available/$(basename "$f")" "etc/apache2/mods-enabled/$(basename "$f")"
		done
	done
	for c in charset localized-error-pages other-vhosts-access-log security serve-cgi-bin; do
		[ ! -e "etc/apache2/conf-available/$c.conf" ] || ln -s "../conf-available/$c.conf" "etc/apache2/conf-enabled/$c.conf"
	done
	ln -s ../sites-available/000-default.conf etc/apache2/sites-enabled/000-default.conf
	[ -e var/www/html/index.html ] || [ ! -e usr/share/apache2/default-site/index.html ] ||
		{ mkdir -p var/www/html && cp usr/share/apache2/default-site/index.html var/www/html/index.html; }
fi

# what a server does not need
find usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete 2>/dev/null || :
find usr/share/doc -mindepth 1 -type d -empty -delete 2>/dev/null || :
rm -rf usr/share/man usr/share/locale usr/share/info usr/share/lintian usr/share/bug usr/share/doc-base usr/share/gnome
mkdir -p usr/share/man
rm -rf var/cache/apt/archives/*.deb var/cache/debconf/*-old var/lib/dpkg/*-old
find var/log -type f -delete
`

// finishScript adds the source's own users and files and runs its commands.
func (d *debianBuild) finishScript() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nset -eu\nroot=$1\n")
	for _, name := range slices.Sorted(maps.Keys(d.src.Users)) {
		id := d.src.Users[name]
		fmt.Fprintf(&b, "grep -q '^%s:' \"$root/etc/group\" || echo '%s:x:%d:' >>\"$root/etc/group\"\n", name, name, id)
		fmt.Fprintf(&b, "grep -q '^%s:' \"$root/etc/passwd\" || echo '%s:x:%d:%d::/nonexistent:/usr/sbin/nologin' >>\"$root/etc/passwd\"\n", name, name, id, id)
	}
	if d.src.Variant == extractVariant { // the package manager's own state: there is none
		b.WriteString("rm -rf \"$root\"/var/lib/dpkg/status* \"$root\"/etc/dpkg/dpkg.cfg.d/* \"$root\"/etc/apt/sources.list*\n")
	}
	for _, c := range d.copies {
		to := quote(c.To)
		fmt.Fprintf(&b, "mkdir -p \"$root\"%s\n", quote(parentDir(c.To)))
		if c.dir {
			fmt.Fprintf(&b, "mkdir -p \"$root\"%s\ncp -RL --preserve=mode,timestamps %s/. \"$root\"%s\n", to, quote(c.from), to)
		} else {
			fmt.Fprintf(&b, "cp -L --preserve=mode,timestamps %s \"$root\"%s\n", quote(c.from), to)
		}
	}
	for i, cmd := range d.src.Run {
		fmt.Fprintf(&b, "env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8"+
			" DEBIAN_FRONTEND=noninteractive chroot \"$root\" /bin/sh -euc %s ||"+
			" { echo 'E: debian.run command %d failed with exit code' $? >&2; exit 1; }\n", quote(cmd), i+1)
	}
	return b.String()
}

// quote makes one word of text for the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func parentDir(path string) string {
	i := strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')
	return path[:max(1, i)]
}
