package awskms_test

import (
	"testing"

	"carillon/signing/provider/awskms"
	"carillon/signing/provider/awskms/awskmstest"
	"carillon/signing/provider/providertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Subject {
		t.Helper()
		server := awskmstest.New(t)
		p, err := awskms.New(t.Context(), server.Config)
		if err != nil {
			t.Fatal(err)
		}
		return providertest.Subject{
			Provider: p, Set: server.Set, Calls: server.Calls, Arrived: server.Arrived(),
			Faults: []providertest.Fault{
				providertest.Dead, providertest.Nonsense, providertest.WrongSignature, providertest.WrongCurve, providertest.OnceBusy,
			},
			CallsOf: map[string]int{"generate": 2, "open": 2, "sign": 1, "destroy": 2},
			Foreign: [][]byte{
				[]byte(server.AddSigning()), []byte("00000000-0000-0000-0000-000000000000"),
				[]byte("alias/carillon"), []byte("arn:aws:kms:eu-test-1:111122223333:key/" + server.AddSigning()),
			},
			Secrets: []string{awskmstest.SecretKey},
		}
	})
}

func TestRoot(t *testing.T) {
	t.Parallel()
	providertest.RunRoot(t, func(t *testing.T) providertest.RootSubject {
		t.Helper()
		server := awskmstest.New(t)
		open := func() *awskms.Root {
			r, err := awskms.NewRoot(t.Context(), server.Config, server.AddWrapping())
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		return providertest.RootSubject{
			Root: open(), Other: open(), Set: server.Set, Calls: server.Calls, Arrived: server.Arrived(),
			Faults:  []providertest.Fault{providertest.Dead, providertest.Nonsense, providertest.OnceBusy},
			Secrets: []string{awskmstest.SecretKey},
		}
	})
}

func TestConfigIsStrict(t *testing.T) {
	t.Parallel()
	for name, region := range map[string]string{"none": "", "a host": "kms.example/", "spaces": "eu central"} {
		if _, err := awskms.New(t.Context(), awskms.Config{Region: region}); err == nil {
			t.Errorf("region %s is accepted", name)
		}
	}
	for _, arn := range []string{"", "alias/root", "arn:aws:kms:eu-test-1:111122223333:alias/root", "0b4f7a52-2c52-4a0c-8c2e-111111111111"} {
		if _, err := awskms.NewRoot(t.Context(), awskms.Config{Region: "eu-test-1"}, arn); err == nil {
			t.Errorf("root key %q is accepted", arn)
		}
	}
}
