use super::*;

#[test]
fn outcomes() {
    let offer = Offer::default();
    let strict = Offer { immediate_data: false, initial_r2t: true, header_digest: Digest::Crc32c, ..offer };
    for (offer, key, value, want) in [
        (offer, "ImmediateData", "Yes", Some("Yes")),
        (offer, "ImmediateData", "No", Some("No")),
        (strict, "ImmediateData", "Yes", Some("No")),
        (offer, "InitialR2T", "No", Some("No")),
        (offer, "InitialR2T", "Yes", Some("Yes")),
        (strict, "InitialR2T", "No", Some("Yes")),
        (offer, "DataPDUInOrder", "No", Some("Yes")),
        (offer, "MaxBurstLength", "262144", Some("262144")),
        (offer, "MaxBurstLength", "0x40000", Some("262144")),
        (offer, "MaxBurstLength", "16777215", Some("16776192")),
        (offer, "FirstBurstLength", "65536", Some("65536")),
        (offer, "MaxOutstandingR2T", "16", Some("1")),
        (offer, "ErrorRecoveryLevel", "2", Some("0")),
        (offer, "MaxConnections", "8", Some("1")),
        (offer, "DefaultTime2Wait", "0", Some("2")),
        (offer, "DefaultTime2Wait", "5", Some("5")),
        (offer, "DefaultTime2Retain", "20", Some("0")),
        (offer, "HeaderDigest", "None", Some("None")),
        (offer, "HeaderDigest", "CRC32C,None", Some("None")),
        (strict, "HeaderDigest", "CRC32C", Some("CRC32C")),
        (offer, "MaxRecvDataSegmentLength", "131072", None),
        (offer, "MaxBurstLength", "Irrelevant", None),
        (offer, "IFMarker", "No", Some("No")),
        (offer, "OFMarkInt", "2048~65535", Some("Reject")),
        (offer, "X-org.example.k", "1", Some("NotUnderstood")),
    ] {
        assert_eq!(Parameters::new(&offer).take(&offer, key, value), Ok(want.map(str::to_owned)), "{key}={value}");
    }
}

#[test]
fn bad_values() {
    let offer = Offer::default();
    let strict = Offer { header_digest: Digest::Crc32c, ..offer };
    let numbers = "a number within the bounds of RFC 7143 section 13 was expected";
    for (offer, key, value, want) in [
        (offer, "ImmediateData", "yes", "the target answered ImmediateData=\"yes\"; Yes or No was expected".to_owned()),
        (offer, "ImmediateData", "Reject", "the target rejected ImmediateData".into()),
        (offer, "MaxBurstLength", "511", format!("the target answered MaxBurstLength=\"511\"; {numbers}")),
        (offer, "MaxBurstLength", "16777216", format!("the target answered MaxBurstLength=\"16777216\"; {numbers}")),
        (offer, "MaxBurstLength", "-1", format!("the target answered MaxBurstLength=\"-1\"; {numbers}")),
        (
            offer,
            "MaxRecvDataSegmentLength",
            "0",
            format!("the target answered MaxRecvDataSegmentLength=\"0\"; {numbers}"),
        ),
        (offer, "ErrorRecoveryLevel", "3", format!("the target answered ErrorRecoveryLevel=\"3\"; {numbers}")),
        (offer, "MaxOutstandingR2T", "", format!("the target answered MaxOutstandingR2T=\"\"; {numbers}")),
        (offer, "HeaderDigest", "CRC32C", "the target answered HeaderDigest=\"CRC32C\"; None was expected".into()),
        (
            strict,
            "HeaderDigest",
            "None",
            "the target does not grant HeaderDigest=CRC32C: allow it there, or do not demand it here".into(),
        ),
        (
            strict,
            "HeaderDigest",
            "Reject",
            "the target does not grant HeaderDigest=CRC32C: allow it there, or do not demand it here".into(),
        ),
    ] {
        assert_eq!(
            Parameters::new(&offer).take(&offer, key, value).map_err(|e| e.to_string()),
            Err(want),
            "{key}={value}"
        );
    }
}

#[test]
fn silence_is_the_default_but_not_for_a_digest() {
    let offer = Offer::default();
    let silent = Parameters::new(&offer).finish(&offer).unwrap();
    assert_eq!((silent.max_send_data, silent.initial_r2t, silent.first_burst_length), (8192, true, 65_536));
    let strict = Offer { data_digest: Digest::Crc32c, ..offer };
    assert_eq!(Parameters::new(&strict).finish(&strict), Err(NegotiationError::Digest { key: "DataDigest" }));
}

#[test]
fn the_first_burst_is_never_longer_than_the_burst() {
    let offer = Offer::default();
    let mut parameters = Parameters::new(&offer);
    parameters.take(&offer, "MaxBurstLength", "8192").unwrap();
    parameters.take(&offer, "FirstBurstLength", "65536").unwrap();
    assert_eq!(parameters.finish(&offer).unwrap().first_burst_length, 8192);
}

#[test]
fn all_keys_are_offered() {
    let keys = |discovery| offered(&Offer::default(), discovery).iter().map(|(key, _)| *key).collect::<Vec<_>>();
    assert_eq!(keys(false).len(), 14);
    assert_eq!(keys(true).len(), 6);
}
