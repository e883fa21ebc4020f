package compose

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"strings"

	"github.com/holdfast/holdfast"
)

// tls reads where the certificate of the route's host comes from.
func (r *routeReader) tls(out *holdfast.Route) {
	v, ok := r.get("tls")
	if !ok {
		return
	}
	m, isMap := v.(map[string]any)
	if !isMap {
		out.TLS = r.certSource("tls", v)
	} else {
		out.TLS = r.tlsOptions(m)
	}
	if t := out.TLS; t != nil && t.From == holdfast.CertAuto && (out.Host == "" || strings.HasPrefix(out.Host, "*")) {
		r.e.bad(r.at("tls"), "auto needs a host without *: an authority checks it by asking there")
	}
}

func (r *routeReader) tlsOptions(m map[string]any) *holdfast.TLS {
	in := routeReader{r.e.read(r.at("tls"), m), r.files}
	defer in.done()
	var t *holdfast.TLS
	from, isFrom := in.get("from")
	cert, key := in.text("cert"), in.text("key")
	hsts := in.duration("hsts", 0, true)
	switch {
	case isFrom && (cert != "" || key != ""), !isFrom && (cert == "" || key == ""):
		r.e.bad(r.at("tls"), "give cert and key, or from")
		return nil
	case isFrom:
		t = in.certSource("from", from)
	default:
		t = in.certFiles(cert, key)
	}
	if t != nil {
		t.HSTS = hsts
	}
	return t
}

func (r *routeReader) certSource(key string, v any) *holdfast.TLS {
	switch from := v; from {
	case "auto", "local":
		return &holdfast.TLS{From: holdfast.CertSource(from.(string))}
	case "off", false: // YAML 1.1 reads off as false
		return nil
	}
	r.e.bad(r.at(key), "must be auto, local, off, or a mapping with cert and key")
	return nil
}

// certFiles reads a certificate and its key from secrets or configs.
func (r *routeReader) certFiles(cert, key string) *holdfast.TLS {
	certData, ok := r.gatewayFile("cert", cert)
	keyData, keyOK := r.gatewayFile("key", key)
	if !ok || !keyOK {
		return nil
	}
	if _, err := tls.X509KeyPair(certData.Data, keyData.Data); err != nil {
		r.e.bad(r.at("cert"), "%s and %s are no certificate and key in PEM that belong together: %s", cert, key, strings.TrimPrefix(err.Error(), "tls: "))
		return nil
	}
	for _, f := range []holdfast.File{certData, keyData} {
		r.files[f.Name+"\x00"+f.Digest] = f
	}
	return &holdfast.TLS{
		From: holdfast.CertFiles,
		Cert: holdfast.FileRef{Name: certData.Name, Digest: certData.Digest},
		Key:  holdfast.FileRef{Name: keyData.Name, Digest: keyData.Digest},
	}
}

// gatewayFile reads the secret or config called name.
func (r *routeReader) gatewayFile(key, name string) (holdfast.File, bool) {
	secret, kind := true, "secrets"
	object, ok := r.e.fileObject(true, name)
	if !ok {
		secret, kind = false, "configs"
		object, ok = r.e.fileObject(false, name)
	}
	if !ok {
		r.e.bad(r.at(key), "%q is declared neither under the top-level secrets nor configs%s", name, didYouMean(name, r.e.fileNames(true)))
		return holdfast.File{}, false
	}
	data, ok := r.e.content(keyPath{kind, name}, object, secret)
	if !ok {
		return holdfast.File{}, false
	}
	sum := sha256.Sum256(data)
	return holdfast.File{
		App: r.e.project.Name, Name: holdfast.GatewayFile + name, Secret: true, Digest: "sha256:" + hex.EncodeToString(sum[:]), Data: data,
	}, true
}
