//! Reason codes: why an answer says yes or no. Not the decision itself, and not [`Malformed`], which says
//! what was wrong with the bytes.
//!
//! The gateway thinks in MQTT 5 reasons only; the return codes of MQTT 3 exist at the edge, in CONNACK.
//!
//! [`Malformed`]: crate::mqtt::malformed::Malformed

use crate::mqtt::packet::PacketKind;

macro_rules! reasons {
    ($($name:ident = $code:literal $text:literal in $($kind:ident)|+;)+) => {
        /// A reason code of MQTT 5 (section 2.4).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $name = $code,)+
        }

        impl Reason {
            /// Every reason, in the order of their codes.
            pub const ALL: &[Reason] = &[$(Reason::$name),+];

            /// The reason with this code, if MQTT 5 defines one.
            pub const fn from_u8(code: u8) -> Option<Reason> {
                match code {
                    $($code => Some(Reason::$name),)+
                    _ => None,
                }
            }

            /// What the specification calls it.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)+ }
            }

            /// The packets that may carry it, one bit per packet type.
            const fn kinds(self) -> u16 {
                match self { $(Reason::$name => $(PacketKind::$kind.bit())|+,)+ }
            }
        }
    };
}

// Section 2.4, table 2-6.
reasons! {
    Success = 0x00 "Success" in Connack | Puback | Pubrec | Pubrel | Pubcomp | Suback | Unsuback | Disconnect | Auth;
    GrantedQos1 = 0x01 "Granted QoS 1" in Suback;
    GrantedQos2 = 0x02 "Granted QoS 2" in Suback;
    DisconnectWithWill = 0x04 "Disconnect with Will Message" in Disconnect;
    NoMatchingSubscribers = 0x10 "No matching subscribers" in Puback | Pubrec;
    NoSubscriptionExisted = 0x11 "No subscription existed" in Unsuback;
    ContinueAuthentication = 0x18 "Continue authentication" in Auth;
    ReAuthenticate = 0x19 "Re-authenticate" in Auth;
    UnspecifiedError = 0x80 "Unspecified error" in Connack | Puback | Pubrec | Suback | Unsuback | Disconnect;
    MalformedPacket = 0x81 "Malformed Packet" in Connack | Disconnect;
    ProtocolError = 0x82 "Protocol Error" in Connack | Disconnect;
    ImplementationSpecificError = 0x83 "Implementation specific error" in Connack | Puback | Pubrec | Suback | Unsuback | Disconnect;
    UnsupportedProtocolVersion = 0x84 "Unsupported Protocol Version" in Connack;
    ClientIdentifierNotValid = 0x85 "Client Identifier not valid" in Connack;
    BadUserNameOrPassword = 0x86 "Bad User Name or Password" in Connack;
    NotAuthorized = 0x87 "Not authorized" in Connack | Puback | Pubrec | Suback | Unsuback | Disconnect;
    ServerUnavailable = 0x88 "Server unavailable" in Connack;
    ServerBusy = 0x89 "Server busy" in Connack | Disconnect;
    Banned = 0x8A "Banned" in Connack;
    ServerShuttingDown = 0x8B "Server shutting down" in Disconnect;
    BadAuthenticationMethod = 0x8C "Bad authentication method" in Connack | Disconnect;
    KeepAliveTimeout = 0x8D "Keep Alive timeout" in Disconnect;
    SessionTakenOver = 0x8E "Session taken over" in Disconnect;
    TopicFilterInvalid = 0x8F "Topic Filter invalid" in Suback | Unsuback | Disconnect;
    TopicNameInvalid = 0x90 "Topic Name invalid" in Connack | Puback | Pubrec | Disconnect;
    PacketIdentifierInUse = 0x91 "Packet Identifier in use" in Puback | Pubrec | Suback | Unsuback;
    PacketIdentifierNotFound = 0x92 "Packet Identifier not found" in Pubrel | Pubcomp;
    ReceiveMaximumExceeded = 0x93 "Receive Maximum exceeded" in Disconnect;
    TopicAliasInvalid = 0x94 "Topic Alias invalid" in Disconnect;
    PacketTooLarge = 0x95 "Packet too large" in Connack | Disconnect;
    MessageRateTooHigh = 0x96 "Message rate too high" in Disconnect;
    QuotaExceeded = 0x97 "Quota exceeded" in Connack | Puback | Pubrec | Suback | Disconnect;
    AdministrativeAction = 0x98 "Administrative action" in Disconnect;
    PayloadFormatInvalid = 0x99 "Payload format invalid" in Connack | Puback | Pubrec | Disconnect;
    RetainNotSupported = 0x9A "Retain not supported" in Connack | Disconnect;
    QosNotSupported = 0x9B "QoS not supported" in Connack | Disconnect;
    UseAnotherServer = 0x9C "Use another server" in Connack | Disconnect;
    ServerMoved = 0x9D "Server moved" in Connack | Disconnect;
    SharedSubscriptionsNotSupported = 0x9E "Shared Subscriptions not supported" in Suback | Disconnect;
    ConnectionRateExceeded = 0x9F "Connection rate exceeded" in Connack | Disconnect;
    MaximumConnectTime = 0xA0 "Maximum connect time" in Disconnect;
    SubscriptionIdentifiersNotSupported = 0xA1 "Subscription Identifiers not supported" in Suback | Disconnect;
    WildcardSubscriptionsNotSupported = 0xA2 "Wildcard Subscriptions not supported" in Suback | Disconnect;
}

impl Reason {
    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Codes from 0x80 on say that the request failed.
    pub const fn is_failure(self) -> bool {
        self.code() >= 0x80
    }

    /// Whether MQTT 5 lets this packet carry it.
    pub const fn allowed_in(self, kind: PacketKind) -> bool {
        self.kinds() & kind.bit() != 0
    }

    /// This reason where the packet may carry it, else the nearest that it may. A failure stays one, but in
    /// AUTH, which has no code for any (section 2.4).
    pub const fn nearest_in(self, kind: PacketKind) -> Reason {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "most reasons that have no place have no relative"
        )]
        let nearest = match self {
            Reason::UnsupportedProtocolVersion
            | Reason::MalformedPacket
            | Reason::ReceiveMaximumExceeded
            | Reason::TopicAliasInvalid
            | Reason::TopicFilterInvalid
            | Reason::TopicNameInvalid => Reason::ProtocolError,
            Reason::ClientIdentifierNotValid
            | Reason::BadUserNameOrPassword
            | Reason::Banned
            | Reason::AdministrativeAction => Reason::NotAuthorized,
            Reason::ServerShuttingDown => Reason::ServerUnavailable,
            Reason::ServerUnavailable => Reason::ServerBusy,
            Reason::MessageRateTooHigh => Reason::QuotaExceeded,
            _ => Reason::UnspecifiedError,
        };
        if self.allowed_in(kind) {
            self
        } else if !self.is_failure() {
            Reason::Success
        } else if nearest.allowed_in(kind) {
            nearest
        } else if Reason::UnspecifiedError.allowed_in(kind) {
            Reason::UnspecifiedError
        } else if Reason::PacketIdentifierNotFound.allowed_in(kind) {
            Reason::PacketIdentifierNotFound
        } else {
            Reason::Success
        }
    }

    /// What a CONNACK of MQTT 3 can say of it: six codes for everything, so the nearest.
    pub const fn connect_return_code(self) -> ConnectReturnCode {
        if !self.is_failure() {
            return ConnectReturnCode::Accepted;
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "five codes have a word in MQTT 3, the rest do not"
        )]
        match self {
            Reason::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
            Reason::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
            Reason::BadUserNameOrPassword | Reason::BadAuthenticationMethod => {
                ConnectReturnCode::BadUserNameOrPassword
            }
            Reason::NotAuthorized | Reason::Banned => ConnectReturnCode::NotAuthorized,
            _ => ConnectReturnCode::ServerUnavailable,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (0x{:02X})", self.text(), self.code())
    }
}

/// The return code of a CONNACK in MQTT 3.1 and 3.1.1 (section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// Connection accepted.
    Accepted = 0,
    /// The server does not speak this level of the protocol.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is not allowed.
    IdentifierRejected = 2,
    /// The MQTT service is unavailable.
    ServerUnavailable = 3,
    /// The user name or password is wrong.
    BadUserNameOrPassword = 4,
    /// The client may not connect.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The return code with this number; 6 and above are reserved.
    pub const fn from_u8(code: u8) -> Option<ConnectReturnCode> {
        match code {
            0 => Some(ConnectReturnCode::Accepted),
            1 => Some(ConnectReturnCode::UnacceptableProtocolVersion),
            2 => Some(ConnectReturnCode::IdentifierRejected),
            3 => Some(ConnectReturnCode::ServerUnavailable),
            4 => Some(ConnectReturnCode::BadUserNameOrPassword),
            5 => Some(ConnectReturnCode::NotAuthorized),
            _ => None,
        }
    }

    /// The MQTT 5 reason that says the same. `connect_return_code` of it gives this code back.
    pub const fn reason(self) -> Reason {
        match self {
            ConnectReturnCode::Accepted => Reason::Success,
            ConnectReturnCode::UnacceptableProtocolVersion => Reason::UnsupportedProtocolVersion,
            ConnectReturnCode::IdentifierRejected => Reason::ClientIdentifierNotValid,
            ConnectReturnCode::ServerUnavailable => Reason::ServerUnavailable,
            ConnectReturnCode::BadUserNameOrPassword => Reason::BadUserNameOrPassword,
            ConnectReturnCode::NotAuthorized => Reason::NotAuthorized,
        }
    }
}
