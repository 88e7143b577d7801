// Command pki writes the keys and certificates of one development cluster, and a kubeconfig for each client.
//
// It reads a request as JSON from standard input and writes into the folder given as its only argument: ca.crt, ca.key,
// service-accounts.key and .pub, and for each entry NAME.crt and NAME.key, with NAME.kubeconfig for a client. All is
// good for one year; nothing is read back, so every run makes a new authority.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

type request struct {
	Cluster string  `json:"cluster"`
	Server  string  `json:"server"`
	Entries []entry `json:"entries"`
}

// entry is one certificate. With names or addresses it is a server's, else a client's.
type entry struct {
	File         string   `json:"file"`
	CommonName   string   `json:"commonName"`
	Organization string   `json:"organization"`
	Names        []string `json:"names"`
	Addresses    []net.IP `json:"addresses"`
}

type authority struct {
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pki:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: pki FOLDER < request.json")
	}
	var wanted request
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		return fmt.Errorf("cannot read the request: %w", err)
	}
	ca, err := newAuthority(os.Args[1], wanted.Cluster)
	if err != nil {
		return err
	}
	if err := ca.writeServiceAccountKey(); err != nil {
		return err
	}
	for _, e := range wanted.Entries {
		if err := ca.issue(e, wanted); err != nil {
			return fmt.Errorf("%s: %w", e.File, err)
		}
	}
	return nil
}

func newAuthority(folder, cluster string) (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "beeline cluster " + cluster},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &authority{folder: folder, certificate: certificate, key: key}
	return ca, ca.writePair("ca", der, key)
}

// writeServiceAccountKey writes the pair that signs and verifies service account tokens.
func (ca *authority) writeServiceAccountKey() error {
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := ca.writeKey("service-accounts", key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return ca.write("service-accounts.pub", encode("PUBLIC KEY", public), 0o644)
}

func (ca *authority) issue(e entry, wanted request) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	subject := pkix.Name{CommonName: e.CommonName}
	if e.Organization != "" {
		subject.Organization = []string{e.Organization}
	}
	isServer := len(e.Names) > 0 || len(e.Addresses) > 0
	usage := x509.ExtKeyUsageClientAuth
	if isServer {
		usage = x509.ExtKeyUsageServerAuth
	}
	template := &x509.Certificate{
		Subject:     subject,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
		DNSNames:    e.Names,
		IPAddresses: e.Addresses,
	}
	der, err := sign(template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return err
	}
	if err := ca.writePair(e.File, der, key); err != nil {
		return err
	}
	if isServer {
		return nil
	}
	return ca.writeKubeconfig(e.File, der, key, wanted)
}

// writeKubeconfig writes a kubeconfig that holds its keys, so that it works wherever it is copied to.
func (ca *authority) writeKubeconfig(file string, der []byte, key *ecdsa.PrivateKey, wanted request) error {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	type object = map[string]any
	config := object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": wanted.Cluster, "cluster": object{
			"server":                     wanted.Server,
			"certificate-authority-data": encode("CERTIFICATE", ca.certificate.Raw),
		}}},
		"users": []object{{"name": file, "user": object{
			"client-certificate-data": encode("CERTIFICATE", der),
			"client-key-data":         encode("PRIVATE KEY", private),
		}}},
		"contexts":        []object{{"name": wanted.Cluster, "context": object{"cluster": wanted.Cluster, "user": file}}},
		"current-context": wanted.Cluster,
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return ca.write(file+".kubeconfig", text, 0o600)
}

func (ca *authority) writePair(file string, der []byte, key *ecdsa.PrivateKey) error {
	if err := ca.write(file+".crt", encode("CERTIFICATE", der), 0o644); err != nil {
		return err
	}
	return ca.writeKey(file, key)
}

func (ca *authority) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return ca.write(file+".key", encode("PRIVATE KEY", der), 0o600)
}

func (ca *authority) write(file string, content []byte, mode os.FileMode) error {
	return os.WriteFile(filepath.Join(ca.folder, file), content, mode)
}

// sign fills in what all certificates share and signs.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.AddDate(1, 0, 0)
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
