"""What people write into tickets and time entries, and the kinds of ticket there are."""

from dataclasses import dataclass

from avesa_site.demo.sample_lake.dice import Weighted

LOW, MEDIUM, HIGH = "Low", "Medium", "High"
LEVELS = (LOW, MEDIUM, HIGH)

Odds = tuple[float, float, float]
MINOR: Odds = (0.70, 0.25, 0.05)
USUAL: Odds = (0.42, 0.45, 0.13)
GRAVE: Odds = (0.12, 0.43, 0.45)


@dataclass(frozen=True, slots=True)
class Matter:
    """A kind of ticket. ``hours`` is the median effort; ``odds`` of low, medium, high gravity.

    A stubborn one takes at least three sessions, so seldom a single day.
    """

    board: str
    team: str
    type: str
    subtype: str
    item: str | None
    hours: float
    odds: Odds
    summaries: tuple[str, ...]
    details: tuple[str, ...]
    monitored: bool = False
    planned: bool = False
    stubborn: bool = False


HELP_DESK = ("Help Desk", "Service Desk")
NETWORK = ("Network Operations", "Network Team")
SECURITY = ("Security", "Security Team")
ALERTS = ("Monitoring Alerts", "Network Team")
CHANGES = ("Changes & Projects", "Projects Team")


MATTERS: tuple[tuple[Matter, float], ...] = (
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Email",
            "Outlook",
            0.6,
            USUAL,
            (
                "Outlook does not open on {device}",
                "Outlook keeps asking for the password",
                'Outlook shows "Disconnected"',
                "Shared mailbox missing in Outlook",
            ),
            (
                'The message is: "Cannot start Microsoft Outlook. Can\'t open the window."',
                "It worked yesterday, nothing was changed on our side.",
            ),
        ),
        11,
    ),
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Email",
            "Mail Flow",
            0.9,
            USUAL,
            (
                "Emails to one customer bounce",
                "Mails arrive hours late",
                "Calendar invitations are not delivered",
            ),
            ('The bounce says: 550 5.7.1 "Access denied, sending domain not authorized".',),
        ),
        5,
    ),
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Hardware",
            "Printer",
            0.5,
            MINOR,
            (
                "Printer {printer} prints blank pages",
                "Printer {printer} is offline",
                "Paper jam on {printer}, again",
                "Scan to folder fails on {printer}",
            ),
            (
                "Display shows: Störung 49.4C02, bitte aus- und einschalten.",
                "The scan folder is \\\\nas01\\scans\\accounting and was fine last week.",
            ),
        ),
        8,
    ),
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Hardware",
            "Laptop",
            1.1,
            USUAL,
            (
                "{device} is very slow",
                "{device} does not charge",
                "Blue screen on {device}",
                "Docking station does not see the second screen",
            ),
            (
                "Stop code: DPC_WATCHDOG_VIOLATION.\nHappens about twice a day.",
                "Fan runs loudly, 15” screen flickers.",
            ),
        ),
        8,
    ),
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Access",
            "Password",
            0.3,
            MINOR,
            (
                "Account locked out",
                "Password reset for {person}",
                "MFA prompt never arrives on new phone",
            ),
            ("Please call back, the user cannot read email.",),
        ),
        11,
    ),
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Software",
            "Line-of-business app",
            1.4,
            USUAL,
            (
                "ERP client closes without a message",
                "Accounting export has the wrong totals",
                "CAD license server not reachable",
                "Error 1603 during the update of the time clock app",
            ),
            (
                "Vendor hotline says: “reinstall”, we would rather not.",
                "Log excerpt:\nERROR 0x80070005; user=SVC_ERP; path=C:\\Program Files\\ERP\\bin",
            ),
        ),
        7,
    ),
    (
        Matter(
            *HELP_DESK,
            "Incident",
            "Software",
            "Teams",
            0.5,
            MINOR,
            (
                "No sound in Teams meetings",
                "Teams does not show presence",
                "Screen sharing in Teams freezes",
            ),
            ("Only with external guests, e.g. 田中さん from the Tokyo office.",),
        ),
        5,
    ),
    (
        Matter(
            *HELP_DESK,
            "Service Request",
            "User",
            "Onboarding",
            1.8,
            MINOR,
            ("New starter: {person}", "Set up workplace for {person}, starting Monday"),
            (
                "Needs: laptop, phone, Office license, CRM access; same rights as the predecessor.",
                "Department: Sales & Marketing\nCost center: 4711\nManager: {person}",
            ),
        ),
        6,
    ),
    (
        Matter(
            *HELP_DESK,
            "Service Request",
            "User",
            "Offboarding",
            0.8,
            MINOR,
            ("{person} leaves at the end of the month", "Disable account of {person}"),
            ("Forward mail to the manager for 30 days, then archive the mailbox.",),
        ),
        4,
    ),
    (
        Matter(
            *HELP_DESK,
            "Service Request",
            "Software",
            "License",
            0.4,
            MINOR,
            ("Order {n} more Office licenses", "PDF editor for {person}"),
            ("Approved by the managing director, offer please first.",),
        ),
        5,
    ),
    (
        Matter(
            *HELP_DESK,
            "Service Request",
            "Question",
            None,
            0.3,
            MINOR,
            ("How do I share a folder with a customer?", "Question about the last invoice"),
            ("No hurry 🙂",),
        ),
        4,
    ),
    (
        Matter(
            *NETWORK,
            "Incident",
            "Network",
            "Wi-Fi",
            1.2,
            USUAL,
            (
                "Wi-Fi drops in meeting room {n}",
                "Guest Wi-Fi has no internet",
                "Slow Wi-Fi, floor {n}",
            ),
            ("Measured 3–5 Mbit/s, cable has 200. Affects ≥ 6 people.",),
        ),
        5,
    ),
    (
        Matter(
            *NETWORK,
            "Incident",
            "Network",
            "VPN",
            0.8,
            USUAL,
            (
                "VPN disconnects every {n} minutes",
                "VPN: certificate expired",
                "No VPN from home office",
            ),
            ("Client log: “peer not responding, retransmit 5/5”.",),
        ),
        7,
    ),
    (
        Matter(
            *NETWORK,
            "Incident",
            "Network",
            "Internet Line",
            1.6,
            GRAVE,
            ("Internet down at {site}", "Line at {site} unstable since this morning"),
            ("Router shows red LED; the provider has opened fault no. 0815-{n}.",),
        ),
        3,
    ),
    (
        Matter(
            *NETWORK,
            "Incident",
            "Server",
            "File Server",
            1.7,
            GRAVE,
            ("Network drive S: not available", "File server {server} does not answer"),
            ("Path: \\\\{server}\\projects\\2025; error 0x80070035.\nAll of accounting waits!",),
        ),
        4,
    ),
    (
        Matter(
            *NETWORK,
            "Service Request",
            "Network",
            "Firewall Rule",
            0.7,
            MINOR,
            ("Open port 443 to the new web shop", "Firewall exception for the telephone system"),
            ("Source: 10.20.0.0/16, target: 192.0.2.{n}, protocol: TCP.",),
        ),
        3,
    ),
    (
        Matter(
            *SECURITY,
            "Incident",
            "Security",
            "Phishing",
            0.6,
            GRAVE,
            ('Phishing mail "Your parcel is waiting"', "User clicked a link in a suspicious mail"),
            ("Sender: invoice@micros0ft.example; subject: “Ünpaid invoice, act now”.",),
        ),
        5,
    ),
    (
        Matter(
            *SECURITY,
            "Incident",
            "Security",
            "Endpoint Alert",
            1.2,
            GRAVE,
            ("EDR quarantined a file on {device}", "Unusual sign-in for {person}"),
            ("Detection: Trojan:Win32/Wacatac.B!ml\nSHA-256 attached, host isolated.",),
            monitored=True,
        ),
        4,
    ),
    (
        Matter(
            *ALERTS,
            "Alert",
            "Backup",
            "Backup Failed",
            0.5,
            USUAL,
            ("Backup of {server} failed", "Backup of {server}: {n} warnings"),
            ("Job=Daily-{server}; Result=Failed; Reason='VSS snapshot timeout'; Retries=3",),
            monitored=True,
        ),
        9,
    ),
    (
        Matter(
            *ALERTS,
            "Alert",
            "Server",
            "Disk Space",
            0.4,
            USUAL,
            ("{server}: less than 10 % free on C:", "{server}: volume D: is at 9{n} %"),
            ('{{"host": "{server}", "check": "disk", "state": "CRITICAL", "free": "4,2 GB"}}',),
            monitored=True,
        ),
        8,
    ),
    (
        Matter(
            *ALERTS,
            "Alert",
            "Server",
            "Host Down",
            0.8,
            GRAVE,
            ("{server} does not answer ping", "Service Spooler stopped on {server}"),
            ("State: DOWN\nLast seen: 5 min ago\nSite: {site}",),
            monitored=True,
        ),
        5,
    ),
    (
        Matter(
            *CHANGES,
            "Change",
            "Server",
            "Patch Window",
            2.2,
            MINOR,
            ("Monthly patches for {server}", "Firmware update of the firewall at {site}"),
            ("Window: Thursday 20:00–22:00; fallback: snapshot.\nApproval by customer needed.",),
            planned=True,
        ),
        5,
    ),
    (
        Matter(
            *CHANGES,
            "Project",
            "Migration",
            "Mailbox Migration",
            6.5,
            USUAL,
            ("Move mailboxes of {site} to the cloud", "Migrate {server} to new hardware"),
            ("Scope:\n- inventory\n- pilot with {n} users\n- cut-over at a week-end",),
            planned=True,
        ),
        2,
    ),
    (
        Matter(
            *CHANGES,
            "Project",
            "Hardware",
            "Rollout",
            4.5,
            MINOR,
            ("Roll out {n} new laptops", "Replace switches at {site}"),
            ("Delivery expected in 2–3 weeks; old devices go to recycling (certificate please).",),
            planned=True,
        ),
        3,
    ),
)

# Of one customer, after it got a new telephone system: nobody can call, so each is urgent.
NEW_PHONES = Matter(
    *NETWORK,
    "Incident",
    "Telephony",
    "New Phone System",
    0.8,
    (0.0, 0.0, 1.0),
    (
        "No incoming calls on the new phone system",
        "Phones of {n} desks are silent since the switch",
        "New phone system: calls drop after {n} seconds",
    ),
    (
        "Since the new phone system went live, customers cannot reach us at {site}.",
        "The SIP trunk registers, then drops. The vendor points at the firewall.",
    ),
    stubborn=True,
)

# Which matter comes up in the office, and which when nobody is there.
BY_DAY = Weighted(MATTERS)
BY_NIGHT = Weighted(
    (matter, weight * (12 if matter.monitored else 1)) for matter, weight in MATTERS
)

OPENINGS = (
    "Hello,",
    "Hi team,",
    "Good morning,",
    "Guten Tag,",
    "Dear service desk,",
    "Bonjour à tous,",
)
CLOSINGS = (
    "Thanks!",
    "Kind regards",
    "Viele Grüße",
    "Please call me on my mobile, not the desk phone.",
    "-- sent from my phone",
    "Merci d'avance 🙏",
)

WORK_NOTES = (
    "Remote session with the user, reproduced the error, cleared the profile cache.",
    "Called the user, no answer; left a voicemail.",
    'Event log shows "The RPC server is unavailable", restarted the service.',
    "Replaced toner, test page OK.",
    "Checked with vendor; case no. 2231-88, waiting for reply.",
    "Steps taken:\n1. rebooted\n2. updated driver\n3. tested with user",
    "Done.",
    "Reset password; user signed in successfully.",
    "Adjusted rule on firewall, tested from outside; works.",
    "Rücksprache mit Kunde, Ursache gefunden: DNS-Eintrag war falsch.",
    "Configured as requested, documented in the wiki → “Customers/Network”.",
    "On site: 2 × switch replaced, cabling labeled.",
    "Backup job repeated, finished without errors.",
    "Discussed with colleague; will continue tomorrow.",
    "Path was \\\\nas01\\scans, corrected; user says «merci».",
)

PROJECT_NOTES = (
    "Migrated the next batch of mailboxes; two are left for tomorrow.",
    "Set up the new firewall in the lab, wrote the cut-over plan.",
    "On site: cabled the rack & labeled all ports.",
    "Workshop with the customer about the new file structure.",
)

INTERNAL_WORK = (
    ("Meeting", "Weekly team meeting"),
    ("Training", "Certification course, module 3"),
    ("Administration", "Timesheets, travel expenses & mail"),
    ("Documentation", 'Updated runbook "On-call"'),
    ("Internal Systems", "Maintenance of our own monitoring"),
)

INDUSTRIES: tuple[tuple[str, float], ...] = (
    ("Manufacturing", 14),
    ("Professional Services", 13),
    ("Healthcare", 11),
    ("Retail", 10),
    ("Construction", 9),
    ("Logistics", 9),
    ("Legal", 8),
    ("Finance & Insurance", 8),
    ("Education", 6),
    ("Hospitality", 6),
    ("Non-Profit", 4),
    ("Media, Print & Design", 4),
)

TRADES = (
    "Logistics",
    "Engineering",
    "Dental",
    "Consulting",
    "Metalworks",
    "Foods",
    "Architects",
    "Tax Advisors",
    "Textiles",
    "Hotels",
    "Insurance",
    "Freight",
    "Media",
    "Bakeries",
    "Electric",
    "Automation",
    "Pharma",
    "Print",
    "Timber",
    "Optics",
    "Solar",
    "Clinics",
    "Schools",
    "Breweries",
)
COINED = (
    "Nord",
    "Alto",
    "Blue",
    "Terra",
    "Vero",
    "Lumen",
    "Kern",
    "Proxi",
    "Delta",
    "Monta",
    "Silva",
    "Astra",
    "Ponte",
    "Quadra",
    "Opti",
    "Grün",
    "Rhein",
    "Cedar",
)

DEPARTMENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Management", ("Managing Director", "Chief Executive Officer", "Partner")),
    ("Finance", ("Accountant", "Head of Finance", "Controller")),
    ("Sales", ("Sales Representative", "Account Manager", "Head of Sales")),
    ("Operations", ("Operations Manager", "Dispatcher", "Production Planner")),
    ("Human Resources", ("HR Manager", "Recruiter")),
    ("IT", ("IT Coordinator", "System Administrator", "Head of IT")),
    ("Marketing & Communication", ("Marketing Manager", "Designer")),
    ("Office", ("Office Manager", "Assistant", "Receptionist")),
)
